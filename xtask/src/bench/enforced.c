/* A number of connects comes in, and how long a packet is on its way, in microseconds; so often a program connects to each of
 * three addresses: one that nobody knows, one of a provider that is allowed, one of a provider that is denied. They take turns in
 * blocks with a pause after each, so that what is done about the refusals of one block is not in the times of the next. The median
 * time of a connect goes out for each, with the number of those that were refused.
 *
 * With no time on the way the addresses are the loopback's. Otherwise they lie behind a device of the program's own, which gives
 * every packet back after its time, from the address that it was sent to: the program talks to itself as over a wire.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KINDS 3
#define PORT 4443
#define CONNECTS_MAX 100000
#define BLOCK 100
#define PAUSE_NS 20000000L
#define PACKET_MAX 2048
#define DEVICE "wire"
#define OWN "10.99.0.1"

static const char *names[KINDS] = {"other", "allowed", "denied"};
static const char *near_by[KINDS] = {"127.0.0.21", "127.0.0.22", "127.0.0.23"};
static const char *far_off[KINDS] = {"10.99.0.21", "10.99.0.22", "10.99.0.23"};
static unsigned long times[KINDS][CONNECTS_MAX];
static long delay_us;
static int device;
static int on_the_way[2];

/* A packet on its way. What is written into a pipe at once up to this size is read at once. */
struct packet {
    unsigned long due_ns;
    ssize_t length;
    unsigned char bytes[PACKET_MAX];
};

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

/* Takes packets from the device and notes when each is due. */
static void *take(void *unused)
{
    static struct packet packet;
    ssize_t length;
    while ((length = read(device, packet.bytes, sizeof packet.bytes)) > 0) {
        struct iphdr *head = (struct iphdr *)packet.bytes;
        in_addr_t from = head->saddr;
        if (head->version != 4)
            continue;
        head->saddr = head->daddr;
        head->daddr = from;
        packet.length = length;
        packet.due_ns = now_ns() + (unsigned long)delay_us * 1000UL;
        if (write(on_the_way[1], &packet, sizeof packet) != sizeof packet)
            break;
    }
    return unused;
}

/* Gives each packet back when it is due. */
static void *give_back(void *unused)
{
    static struct packet packet;
    prctl(PR_SET_TIMERSLACK, 1UL);
    while (read(on_the_way[0], &packet, sizeof packet) == sizeof packet) {
        struct timespec due = {.tv_sec = (time_t)(packet.due_ns / 1000000000UL),
                               .tv_nsec = (long)(packet.due_ns % 1000000000UL)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        if (write(device, packet.bytes, (size_t)packet.length) != packet.length)
            break;
    }
    return unused;
}

/* Makes the device, gives it an address, and has two threads serve it. */
static int wire(void)
{
    struct ifreq order = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    struct sockaddr_in *address = (struct sockaddr_in *)&order.ifr_addr;
    int socket_any = socket(AF_INET, SOCK_DGRAM, 0);
    pthread_t threads[2];
    strcpy(order.ifr_name, DEVICE);
    device = open("/dev/net/tun", O_RDWR);
    if (device < 0 || ioctl(device, TUNSETIFF, &order) != 0)
        return fail("making a device");
    memset(&order.ifr_addr, 0, sizeof order.ifr_addr);
    address->sin_family = AF_INET;
    inet_pton(AF_INET, OWN, &address->sin_addr);
    if (ioctl(socket_any, SIOCSIFADDR, &order) != 0)
        return fail("giving it an address");
    inet_pton(AF_INET, "255.255.255.0", &address->sin_addr);
    if (ioctl(socket_any, SIOCSIFNETMASK, &order) != 0)
        return fail("giving it a network");
    order.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(socket_any, SIOCSIFFLAGS, &order) != 0)
        return fail("switching it on");
    if (pipe(on_the_way) != 0 || pthread_create(&threads[0], NULL, take, NULL) != 0 ||
        pthread_create(&threads[1], NULL, give_back, NULL) != 0)
        return fail("starting threads");
    return 0;
}

/* Connects once, and takes down the time and whether it was refused. */
static int once(int listener, int kind, long number, long *refused)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int far, near = socket(AF_INET, SOCK_STREAM, 0);
    unsigned long began;
    inet_pton(AF_INET, delay_us > 0 ? far_off[kind] : near_by[kind], &place.sin_addr);
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
    delay_us = count > 2 ? atol(words[2]) : -1;
    if (connects < 1 || connects > CONNECTS_MAX || delay_us < 0 || delay_us > 1000000)
        return fprintf(stderr, "usage: enforced CONNECTS MICROSECONDS\n"), 2;
    if (delay_us > 0 && wire() != 0)
        return 1;
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
