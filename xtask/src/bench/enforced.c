/* A number of connects comes in; so often a program connects to each of three addresses of the loopback: one that nobody knows,
 * one of a provider that is allowed, one of a provider that is denied. They take turns in blocks with a pause after each, so that
 * what is done about the refusals of one block is not in the times of the next. The median time of a connect goes out for each,
 * with the number of those that were refused.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KINDS 3
#define PORT 4443
#define CONNECTS_MAX 100000
#define BLOCK 100
#define PAUSE_NS 20000000L

static const char *names[KINDS] = {"other", "allowed", "denied"};
static const char *addresses[KINDS] = {"127.0.0.21", "127.0.0.22", "127.0.0.23"};
static unsigned long times[KINDS][CONNECTS_MAX];

static unsigned long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long)now.tv_sec * 1000000000UL + (unsigned long)now.tv_nsec;
}

static int compare(const void *left, const void *right)
{
    unsigned long a = *(const unsigned long *)left, b = *(const unsigned long *)right;
    return a < b ? -1 : a > b;
}

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

/* Connects once, and takes down the time and whether it was refused. */
static int once(int listener, int kind, long number, long *refused)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int far, near = socket(AF_INET, SOCK_STREAM, 0);
    unsigned long began;
    inet_pton(AF_INET, addresses[kind], &place.sin_addr);
    began = now_ns();
    int outcome = connect(near, (struct sockaddr *)&place, sizeof place);
    times[kind][number] = now_ns() - began;
    if (outcome != 0 && errno != EPERM)
        return fail("connecting");
    if (outcome != 0) {
        ++*refused;
    } else {
        far = accept(listener, NULL, NULL);
        if (far < 0)
            return fail("accepting");
        setsockopt(far, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(far);
    }
    close(near);
    return 0;
}

int main(int count, char **words)
{
    long connects = count > 1 ? atol(words[1]) : 0;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    long refused[KINDS] = {0};
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct timespec pause = {.tv_nsec = PAUSE_NS};
    if (connects < 1 || connects > CONNECTS_MAX)
        return fprintf(stderr, "usage: enforced CONNECTS\n"), 2;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&place, sizeof place) != 0 || listen(listener, 16) != 0)
        return fail("listening");
    for (long first = 0; first < connects; first += BLOCK) {
        long end = first + BLOCK < connects ? first + BLOCK : connects;
        for (int kind = 0; kind < KINDS; kind++) {
            for (long number = first; number < end; number++)
                if (once(listener, kind, number, &refused[kind]) != 0)
                    return 1;
            nanosleep(&pause, NULL);
        }
    }
    for (int kind = 0; kind < KINDS; kind++) {
        qsort(times[kind], (size_t)connects, sizeof times[kind][0], compare);
        printf("{\"kind\":\"%s\",\"median_ns\":%lu,\"refused\":%ld}\n", names[kind], times[kind][connects / 2],
               refused[kind]);
    }
    return 0;
}
