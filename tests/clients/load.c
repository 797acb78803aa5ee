/* An address, a host name and a number of calls come in; streamed chat calls over libssl and one line of JSON go out.
 *
 * usage: load ADDRESS PORT HOST CA CONNECTIONS CALLS REQUEST_BYTES RATE WARM KNOBS
 * Each connection is a thread with a blocking socket and keep-alive, as a pool of workers has. RATE is calls a second
 * over all threads, 0 for as fast as it goes. With WARM=1 each connection makes one call, then "ready" is printed and
 * a line on standard input is awaited; only what follows is counted.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 2048
#define READ_BYTES 16384
#define THREADS_MAX 512

static const char *address, *host, *knobs;
static int port;
static char *request;
static size_t request_length;
static long calls, rate;
static SSL_CTX *context;
static atomic_long next_call, done, failed, body_bytes, events;
static atomic_ulong began_ns;
static unsigned long *latencies;
static pthread_barrier_t warm, go;
static int warming;

static unsigned long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000000UL + (unsigned long)now.tv_nsec;
}

static void make_request(size_t size)
{
    static const char front[] = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                                "\"messages\":[{\"role\":\"user\",\"content\":\"";
    static const char back[] = "\"}]}";
    size_t fixed = sizeof front - 1 + sizeof back - 1;
    size_t body = size > fixed ? size : fixed;
    request = malloc(HEAD_MAX + body);
    if (!request)
        exit(2);
    int head = snprintf(request, HEAD_MAX,
                        "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                        "Authorization: Bearer sk-proj-LABFAKEloadLABFAKEload0000\r\nUser-Agent: lab-load\r\n"
                        "x-lab-scenario: %s\r\nContent-Length: %zu\r\n\r\n",
                        host, knobs, body);
    if (head < 0 || head >= HEAD_MAX)
        exit(2);
    char *at = request + head;
    memcpy(at, front, sizeof front - 1);
    memset(at + sizeof front - 1, 'p', body - fixed);
    memcpy(at + body - (sizeof back - 1), back, sizeof back - 1);
    request_length = (size_t)head + body;
}

static SSL *open_connection(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct timeval limit = {.tv_sec = 60};
    if (fd < 0 || inet_pton(AF_INET, address, &peer.sin_addr) != 1)
        return NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    SSL *ssl = SSL_new(context);
    if (!ssl || connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) {
        SSL_free(ssl);
        close(fd);
        return NULL;
    }
    SSL_set_tlsext_host_name(ssl, host);
    SSL_set1_host(ssl, host);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) {
        ERR_print_errors_fp(stderr);
        SSL_free(ssl);
        close(fd);
        return NULL;
    }
    return ssl;
}

static void close_connection(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

/* Counts the events of a stream: each begins with "data: ". The state outlives a read, an event may be cut anywhere. */
static long count_events(const char *bytes, int length, int *matched)
{
    static const char word[] = "data: {";
    long found = 0;
    for (int place = 0; place < length; place++) {
        *matched = bytes[place] == word[*matched] ? *matched + 1 : bytes[place] == word[0];
        if (word[*matched] == '\0') {
            found++;
            *matched = 0;
        }
    }
    return found;
}

/* One call; the answer is chunked, and its last bytes are known. Returns 0 when it came whole with status 200. */
static int call(SSL *ssl, long *read_total, long *read_events)
{
    static const char end[] = "\r\n0\r\n\r\n";
    char buffer[READ_BYTES], tail[sizeof end - 1] = {0};
    int first = 1, matched = 0;
    if (SSL_write(ssl, request, (int)request_length) != (int)request_length)
        return -1;
    *read_total = *read_events = 0;
    for (;;) {
        int got = SSL_read(ssl, buffer, sizeof buffer);
        if (got <= 0)
            return -1;
        if (first && (got < 12 || memcmp(buffer, "HTTP/1.1 200", 12) != 0))
            return -1;
        first = 0;
        *read_total += got;
        *read_events += count_events(buffer, got, &matched);
        size_t fresh = (size_t)got < sizeof tail ? (size_t)got : sizeof tail;
        memmove(tail, tail + fresh, sizeof tail - fresh);
        memcpy(tail + sizeof tail - fresh, buffer + got - fresh, fresh);
        if (memcmp(tail, end, sizeof tail) == 0)
            return 0;
    }
}

static void pace(long number)
{
    if (rate <= 0)
        return;
    unsigned long due = began_ns + (unsigned long)number * 1000000000UL / (unsigned long)rate, now = now_ns();
    if (due > now) {
        struct timespec pause = {.tv_sec = (time_t)((due - now) / 1000000000UL),
                                 .tv_nsec = (long)((due - now) % 1000000000UL)};
        nanosleep(&pause, NULL);
    }
}

static void *worker(void *unused)
{
    SSL *ssl = open_connection();
    long read_total, read_events, number;
    (void)unused;
    if (warming) {
        if (ssl && call(ssl, &read_total, &read_events) != 0)
            atomic_fetch_add(&failed, 1);
        pthread_barrier_wait(&warm);
        pthread_barrier_wait(&go);
    }
    while ((number = atomic_fetch_add(&next_call, 1)) < calls) {
        pace(number);
        unsigned long start = now_ns();
        if (!ssl)
            ssl = open_connection();
        if (!ssl || call(ssl, &read_total, &read_events) != 0) {
            atomic_fetch_add(&failed, 1);
            if (ssl)
                close_connection(ssl);
            ssl = NULL;
            continue;
        }
        latencies[number] = now_ns() - start;
        atomic_fetch_add(&done, 1);
        atomic_fetch_add(&body_bytes, read_total);
        atomic_fetch_add(&events, read_events);
    }
    if (ssl)
        close_connection(ssl);
    return NULL;
}

static int by_size(const void *left, const void *right)
{
    unsigned long a = *(const unsigned long *)left, b = *(const unsigned long *)right;
    return (a > b) - (a < b);
}

int main(int count, char **args)
{
    static pthread_t threads[THREADS_MAX];
    if (count != 11)
        return 2;
    address = args[1];
    port = atoi(args[2]);
    host = args[3];
    long connections = atol(args[5]);
    calls = atol(args[6]);
    rate = atol(args[8]);
    warming = atoi(args[9]);
    knobs = args[10];
    if (connections < 1 || connections > THREADS_MAX || calls < 1)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    make_request((size_t)atol(args[7]));
    latencies = calloc((size_t)calls, sizeof *latencies);
    context = SSL_CTX_new(TLS_client_method());
    if (!latencies || !context || SSL_CTX_load_verify_locations(context, args[4], NULL) != 1)
        return 2;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    pthread_barrier_init(&warm, NULL, (unsigned)connections + 1);
    pthread_barrier_init(&go, NULL, (unsigned)connections + 1);
    began_ns = now_ns();
    for (long thread = 0; thread < connections; thread++)
        pthread_create(&threads[thread], NULL, worker, NULL);
    if (warming) {
        pthread_barrier_wait(&warm);
        puts("ready");
        fflush(stdout);
        while (getchar() != '\n' && !feof(stdin))
            ;
        began_ns = now_ns();
        pthread_barrier_wait(&go);
    }
    for (long thread = 0; thread < connections; thread++)
        pthread_join(threads[thread], NULL);
    unsigned long ended = now_ns();
    qsort(latencies, (size_t)calls, sizeof *latencies, by_size);
    printf("{\"calls\":%ld,\"failed\":%ld,\"events\":%ld,\"bytes\":%ld,\"began_ns\":%lu,\"ended_ns\":%lu,"
           "\"p50_ns\":%lu,\"p99_ns\":%lu}\n",
           done, failed, events, body_bytes, began_ns, ended, latencies[calls / 2], latencies[calls * 99 / 100]);
    return failed == 0 ? 0 : 1;
}
