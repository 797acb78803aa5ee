/* Nothing comes in; the time of a connection, and of a packet with its reception, over loopback goes out.
 *
 * usage: connect
 * Both ends are in this thread, so that no scheduler and no other process is in the time that is measured. One line of
 * JSON for each kind follows: `connect` is a TCP connection made, accepted and reset, `tcp` 1 KiB sent and received over
 * one, `udp` 64 bytes as a datagram; `tcp_asked` and `udp_asked` are the same once this program has asked for an AI name.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 200
#define ROUNDS 20
#define TCP_BYTES 1024
#define UDP_BYTES 64
#define ASKED_US 300000

static struct sockaddr_in where = {.sin_family = AF_INET};
static int listener, sender, receiver;

static unsigned long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000000UL + (unsigned long)now.tv_nsec;
}

static void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static int bound(int kind)
{
    socklen_t length = sizeof where;
    int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = 0;
    check(fd >= 0 && bind(fd, (struct sockaddr *)&where, sizeof where) == 0, "bind");
    check(getsockname(fd, (struct sockaddr *)&where, &length) == 0, "getsockname");
    return fd;
}

static int connected(int kind)
{
    int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    check(fd >= 0 && connect(fd, (struct sockaddr *)&where, sizeof where) == 0, "connect");
    return fd;
}

static void connect_once(void)
{
    /* A reset leaves no port waiting behind. */
    struct linger none = {.l_onoff = 1};
    int client = connected(SOCK_STREAM), server = accept(listener, NULL, NULL);
    check(server >= 0, "accept");
    setsockopt(client, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(client);
    close(server);
}

static void move_once(size_t size)
{
    static char bytes[TCP_BYTES];
    check(send(sender, bytes, size, 0) == (ssize_t)size, "send");
    check(recv(receiver, bytes, size, MSG_WAITALL) == (ssize_t)size, "recv");
}

static int by_size(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void measure(const char *kind, size_t size)
{
    static double batches[BATCHES];
    for (int batch = -BATCHES / 10; batch < BATCHES; batch++) {
        unsigned long start = now_ns();
        for (int round = 0; round < ROUNDS; round++) {
            if (size == 0)
                connect_once();
            else
                move_once(size);
        }
        if (batch >= 0)
            batches[batch] = (double)(now_ns() - start) / ROUNDS;
    }
    qsort(batches, BATCHES, sizeof *batches, by_size);
    printf("{\"kind\":\"%s\",\"median_ns\":%.1f,\"least_ns\":%.1f}\n", kind, batches[BATCHES / 2], batches[0]);
}

/* Asks for the name of an AI service; nobody answers. */
static void ask(void)
{
    static const unsigned char question[] =
        "\x12\x34\1\0\0\1\0\0\0\0\0\0\3api\6openai\3com\0\0\1\0\1";
    struct sockaddr_in resolver = {.sin_family = AF_INET, .sin_port = htons(53)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    resolver.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(fd >= 0 && connect(fd, (struct sockaddr *)&resolver, sizeof resolver) == 0, "connect");
    check(send(fd, question, sizeof question - 1, 0) > 0, "send");
    close(fd);
    /* A watcher has time to act upon it. */
    usleep(ASKED_US);
}

static void move_over(int stream, int others, const char *kind, size_t size)
{
    sender = stream;
    receiver = others;
    measure(kind, size);
}

int main(void)
{
    int on = 1, stream[2], datagrams[2];
    listener = bound(SOCK_STREAM);
    check(listen(listener, 16) == 0, "listen");
    measure("connect", 0);
    stream[0] = connected(SOCK_STREAM);
    stream[1] = accept(listener, NULL, NULL);
    check(stream[1] >= 0, "accept");
    setsockopt(stream[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    datagrams[1] = bound(SOCK_DGRAM);
    datagrams[0] = connected(SOCK_DGRAM);
    move_over(stream[0], stream[1], "tcp", TCP_BYTES);
    move_over(datagrams[0], datagrams[1], "udp", UDP_BYTES);
    ask();
    move_over(stream[0], stream[1], "tcp_asked", TCP_BYTES);
    move_over(datagrams[0], datagrams[1], "udp_asked", UDP_BYTES);
    return 0;
}
