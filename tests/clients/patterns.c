/* A number of threads and of rounds come in; TLS calls over memory, each thread with bytes of its own, go out.
 *
 * usage: patterns THREADS ROUNDS
 * All threads share one CPU. Each owns a client and a server object joined by memory BIOs and, in each round, writes and
 * reads in both directions. The byte at offset O of every stream of a thread is PATTERN[O mod PERIOD], and the pattern
 * follows from the thread id alone, so whoever sees a byte knows whose it must be. "ready PID" is printed, a line on
 * standard input is awaited, and at the end each thread prints "thread ID CALLS BYTES": calls that moved bytes, and
 * bytes they moved.
 */
#define _GNU_SOURCE
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A prime above the largest chunk that is copied at once: no two chunks of a stream look alike. */
#define PERIOD 65521
#define CALL_MAX 100000
#define THREADS_MAX 64

/* Every tier of the records, its edges, and calls of several chunks; most calls are small, as in real traffic. */
static const int SIZES[] = {17,   256,  300,   64,   1024, 257,  900,   5000,  128,  1025,  512,
			    8192, 200,  16384, 90,   8193, 1000, 32768, 600,   255,  32769, 48,
			    2000, 1023, 4096,  8191, 700,  16,   100000, 333};
#define SIZES_COUNT (sizeof SIZES / sizeof *SIZES)

static SSL_CTX *clients, *servers;
static long rounds;
static pthread_barrier_t go;

struct stream {
	unsigned char *pattern;
	long calls, bytes;
};

static void fail(const char *what)
{
	fprintf(stderr, "patterns: %s failed\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

/* xorshift64 from the thread id; twice the period and a call, so that every part is contiguous. */
static unsigned char *pattern_of(pid_t thread)
{
	unsigned char *pattern = malloc(PERIOD + CALL_MAX);
	uint64_t state = 0x9e3779b97f4a7c15u ^ (uint64_t)thread;
	if (!pattern)
		fail("memory");
	for (int at = 0; at < PERIOD; at++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		pattern[at] = (unsigned char)(state >> 24);
	}
	for (int at = PERIOD; at < PERIOD + CALL_MAX; at++)
		pattern[at] = pattern[at - PERIOD];
	return pattern;
}

static void write_all(SSL *tls, struct stream *mine, uint64_t *offset, int size, int sized)
{
	const unsigned char *from = mine->pattern + *offset % PERIOD;
	size_t moved = 0;
	if (sized) {
		if (SSL_write_ex(tls, from, (size_t)size, &moved) != 1)
			fail("SSL_write_ex");
	} else {
		int result = SSL_write(tls, from, size);
		if (result <= 0)
			fail("SSL_write");
		moved = (size_t)result;
	}
	if (moved != (size_t)size)
		fail("a whole write");
	*offset += moved;
	mine->calls++;
	mine->bytes += size;
}

static void read_all(SSL *tls, struct stream *mine, uint64_t *offset, int size, int sized)
{
	static __thread unsigned char buffer[CALL_MAX];
	while (size > 0) {
		size_t moved = 0;
		if (sized) {
			if (SSL_read_ex(tls, buffer, (size_t)size, &moved) != 1)
				fail("SSL_read_ex");
		} else {
			int result = SSL_read(tls, buffer, size);
			if (result <= 0)
				fail("SSL_read");
			moved = (size_t)result;
		}
		if (memcmp(buffer, mine->pattern + *offset % PERIOD, moved) != 0)
			fail("the comparison of what was read");
		*offset += moved;
		size -= (int)moved;
		mine->calls++;
		mine->bytes += (long)moved;
	}
}

static SSL *object(SSL_CTX *context, BIO *in, BIO *out)
{
	SSL *tls = SSL_new(context);
	if (!tls || !BIO_up_ref(in) || !BIO_up_ref(out))
		fail("SSL_new");
	SSL_set_bio(tls, in, out);
	/* The name makes the sensor watch the connection from its first byte on. */
	SSL_set_tlsext_host_name(tls, "api.openai.com");
	return tls;
}

static void *work(void *number)
{
	struct stream mine = {pattern_of(gettid()), 0, 0};
	uint64_t sent[2] = {0, 0}, received[2] = {0, 0};
	BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());
	pthread_barrier_wait(&go);
	SSL *tls[2] = {object(clients, down, up), object(servers, up, down)};
	SSL_set_connect_state(tls[0]);
	SSL_set_accept_state(tls[1]);
	for (int step = 0; step < 8; step++)
		SSL_do_handshake(tls[step % 2]);
	if (!SSL_is_init_finished(tls[0]) || !SSL_is_init_finished(tls[1]))
		fail("the handshake");
	for (long round = 0; round < rounds; round++) {
		int size = SIZES[(size_t)(round * 7 + (long)number * 3) % SIZES_COUNT];
		for (int from = 0; from < 2; from++) {
			write_all(tls[from], &mine, &sent[from], size, round % 2);
			read_all(tls[1 - from], &mine, &received[1 - from], size, round % 2);
		}
	}
	printf("thread %d %ld %ld\n", gettid(), mine.calls, mine.bytes);
	return NULL;
}

static SSL_CTX *context(const SSL_METHOD *method)
{
	SSL_CTX *made = SSL_CTX_new(method);
	if (!made || !SSL_CTX_set_max_proto_version(made, TLS1_2_VERSION))
		fail("SSL_CTX_new");
	/* Without a certificate and without encryption: the time goes into calls. The plaintext side is the same. */
	if (!SSL_CTX_set_cipher_list(made, "AECDH-NULL-SHA:@SECLEVEL=0"))
		fail("the cipher");
	SSL_CTX_set_mode(made, SSL_MODE_AUTO_RETRY);
	return made;
}

int main(int count, char **arguments)
{
	pthread_t threads[THREADS_MAX];
	char line[16];
	cpu_set_t one;
	long number = count == 3 ? atol(arguments[1]) : 0;
	rounds = count == 3 ? atol(arguments[2]) : 0;
	if (number < 1 || number > THREADS_MAX || rounds < 1) {
		fprintf(stderr, "usage: patterns THREADS ROUNDS\n");
		return 2;
	}
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof one, &one) != 0)
		perror("patterns: sharing one CPU");
	clients = context(TLS_client_method());
	servers = context(TLS_server_method());
	pthread_barrier_init(&go, NULL, (unsigned)number);
	printf("ready %d\n", getpid());
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		return 1;
	for (long at = 0; at < number; at++)
		if (pthread_create(&threads[at], NULL, work, (void *)at) != 0)
			fail("a thread");
	for (long at = 0; at < number; at++)
		pthread_join(threads[at], NULL);
	return 0;
}
