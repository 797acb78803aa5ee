/* Who watches comes in; the time of a client's SSL_write and of its SSL_reads of as many bytes goes out, by size.
 *
 * usage: pair CLEAN WAITS
 * Both ends of each connection are in this process and joined in memory: no system call and no other process is in the
 * time that is measured, which is that of the client's calls. CLEAN is 0 where nobody watches: the hash of libssl's code
 * is printed first. With WAITS=1 nothing begins until the code differs from that hash, which is how probes are seen from
 * within. One line of JSON for each
 * size and kind of connection follows; `probed` says whether the code carried probes at its end.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAIRS_MAX 32
#define BATCHES 100
#define BATCH_BYTES (512 * 1024)
#define SIZE_MAX_BYTES (1024 * 1024)
/* Room for the records of the longest write, on its way from one end to the other. */
#define CHANNEL_BYTES (2 * SIZE_MAX_BYTES)
#define READ_BYTES 16384
/* How long the sensor may take to judge a connection. */
#define JUDGED_NS 300000000L
/* A pause after each batch, so that what is copied can be taken: a fixed part, and one for each byte. */
#define PAUSE_NS 1000000L
#define PAUSE_NS_A_BYTE 5L
#define WAIT_ROUNDS 600

static unsigned long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000000UL + (unsigned long)now.tv_nsec;
}

static void pause_ns(long ns)
{
    struct timespec pause = {.tv_sec = ns / 1000000000L, .tv_nsec = ns % 1000000000L};
    nanosleep(&pause, NULL);
}

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* FNV-1a of the code of libssl as this process has it: a probe changes a byte of it. */
static unsigned long code_hash(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024], rights[8];
    unsigned long start, end, hash = 0xcbf29ce484222325UL;
    if (!maps)
        fail("/proc/self/maps");
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, rights) != 3 || rights[2] != 'x' || !strstr(line, "libssl"))
            continue;
        for (const unsigned char *byte = (const unsigned char *)start; byte < (const unsigned char *)end; byte++)
            hash = (hash ^ *byte) * 0x100000001b3UL;
    }
    fclose(maps);
    return hash;
}

static SSL_CTX *server_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    if (!context || !key || !certificate)
        fail("making the server");
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    if (!X509_sign(certificate, key, EVP_sha256()) || SSL_CTX_use_certificate(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, key) != 1)
        fail("making the certificate");
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

static void take(SSL *from, int length)
{
    static char buffer[READ_BYTES];
    for (int taken = 0, got; taken < length; taken += got)
        if ((got = SSL_read(from, buffer, sizeof buffer)) <= 0)
            fail("reading");
}

static void give(SSL *to, const char *bytes, int length)
{
    if (SSL_write(to, bytes, length) != length)
        fail("writing");
}

/* The client writes and the server reads, then the other way; gives the time of the client's calls. */
static unsigned long exchange(SSL *client, SSL *server, const char *bytes, int length)
{
    unsigned long start = now_ns();
    give(client, bytes, length);
    unsigned long spent = now_ns() - start;
    take(server, length);
    give(server, bytes, length);
    start = now_ns();
    take(client, length);
    return spent + now_ns() - start;
}

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Moves bytes of one size both ways, over a connection to an AI provider or over another. */
static void measure(SSL_CTX *contexts[2], int is_ai, int size, unsigned long clean)
{
    static const char request[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\n"
                                  "Content-Type: application/json\r\nContent-Length: 1125899906842624\r\n\r\n"
                                  "{\"model\":\"gpt-4o-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"";
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                 "Content-Length: 1125899906842624\r\n\r\ndata: ";
    static const char other[] = "\x01\x02 this is another protocol\n";
    static char bytes[SIZE_MAX_BYTES];
    static double batches[BATCHES];
    int pairs = BATCH_BYTES / size > PAIRS_MAX ? PAIRS_MAX : BATCH_BYTES / size > 0 ? BATCH_BYTES / size : 1;
    BIO *ends[2];
    SSL *client = SSL_new(contexts[0]), *server = SSL_new(contexts[1]);
    if (!client || !server || BIO_new_bio_pair(&ends[0], CHANNEL_BYTES, &ends[1], CHANNEL_BYTES) != 1)
        fail("making a connection");
    SSL_set_bio(client, ends[0], ends[0]);
    SSL_set_bio(server, ends[1], ends[1]);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    SSL_set_tlsext_host_name(client, is_ai ? "api.openai.com" : "files.example");
    for (int round = 0; round < 16; round++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    if (!SSL_is_init_finished(client) || !SSL_is_init_finished(server))
        fail("no handshake");
    int said = (int)(is_ai ? sizeof request : sizeof other) - 1, answered = (int)(is_ai ? sizeof answer : sizeof other) - 1;
    give(client, is_ai ? request : other, said);
    take(server, said);
    give(server, is_ai ? answer : other, answered);
    take(client, answered);
    pause_ns(JUDGED_NS);
    memset(bytes, 'x', (size_t)size);
    for (int batch = 0; batch < BATCHES; batch++) {
        unsigned long spent = 0;
        for (int pair = 0; pair < pairs; pair++)
            spent += exchange(client, server, bytes, size);
        batches[batch] = (double)spent / pairs;
        pause_ns(PAUSE_NS + PAUSE_NS_A_BYTE * size * pairs);
    }
    qsort(batches, BATCHES, sizeof *batches, by_size);
    printf("{\"size\":%d,\"ai\":%s,\"median_ns\":%.1f,\"least_ns\":%.1f,\"probed\":%s}\n", size, is_ai ? "true" : "false",
           batches[BATCHES / 2], batches[0], code_hash() == clean ? "false" : "true");
    SSL_free(client);
    SSL_free(server);
}

int main(int count, char **args)
{
    static const int sizes[] = {16, 256, 1024, 4096, 16384, 65536, SIZE_MAX_BYTES};
    if (count != 3)
        return 2;
    SSL_CTX *contexts[2] = {SSL_CTX_new(TLS_client_method()), server_context()};
    if (!contexts[0])
        fail("making the client");
    SSL_CTX_set_num_tickets(contexts[1], 0);
    unsigned long clean = strtoul(args[1], NULL, 16);
    int waits = args[2][0] == '1';
    if (clean == 0) {
        clean = code_hash();
        printf("{\"clean\":\"%lx\"}\n", clean);
    } else if (waits) {
        for (int round = 0; code_hash() == clean; round++) {
            if (round == WAIT_ROUNDS)
                fail("libssl carries no probes");
            pause_ns(50000000L);
        }
        pause_ns(JUDGED_NS);
    }
    for (int is_ai = 1; is_ai >= 0; is_ai--)
        for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++)
            measure(contexts, is_ai, sizes[at], clean);
    return 0;
}
