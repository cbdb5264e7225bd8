/* The load generator: sends prepared HTTP requests over kept-alive connections and times each answer.
 *
 *   load HOST PORT CONNECTIONS FILE < requests > timings
 *
 * A request is three numbers (64 bits, native order): the length of its head, how many bytes of FILE follow that, and the
 * length of its tail. Then come head and tail.
 * The first line of the timings is the wall time of all in ns; then for each request, in order: its status, its time
 * from the first byte sent to the last one received in ns, and the length of the answer's body.
 * Bodies are received as any client receives them, into memory, and forgotten. An answer must have a Content-Length, which
 * of one to HEAD says nothing about what follows.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECEIVE = 256 << 10, SEND = 1 << 20 };

struct request {
    uint64_t head_length, file_length, tail_length;
    const char *head, *tail;
    uint64_t status, elapsed_ns, body_length;
};

static struct request *requests;
static size_t count, next;
static const char *file;
static struct sockaddr_in address;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "no");
    exit(1);
}

/* Everything there is on standard input. */
static char *slurp(size_t *length) {
    size_t room = 1 << 20, have = 0;
    char *bytes = malloc(room);
    for (;;) {
        if (bytes == NULL) die("memory");
        ssize_t got = read(0, bytes + have, room - have);
        if (got < 0) die("read");
        if (got == 0) break;
        have += (size_t)got;
        if (have == room) bytes = realloc(bytes, room *= 2);
    }
    *length = have;
    return bytes;
}

static void parse(const char *bytes, size_t length) {
    size_t room = 0;
    for (const char *at = bytes; at < bytes + length; count++) {
        if (count == room && !(requests = realloc(requests, (room = room ? room * 2 : 64) * sizeof *requests))) die("memory");
        struct request *request = &requests[count];
        memset(request, 0, sizeof *request);
        memcpy(request, at, 3 * sizeof(uint64_t));
        request->head = at + 3 * sizeof(uint64_t);
        request->tail = request->head + request->head_length;
        at = request->tail + request->tail_length;
        if (at > bytes + length) die("a request is cut off");
    }
}

static int dial(void) {
    int one = 1, connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return connection;
}

/* 0, or -1 if the peer does not take more: its answer says why. */
static int push(int connection, const char *bytes, uint64_t length, int flags) {
    while (length > 0) {
        ssize_t sent = send(connection, bytes, length < SEND ? length : SEND, flags | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return -1;
        bytes += sent;
        length -= (uint64_t)sent;
    }
    return 0;
}

static void answer(int connection, struct request *request, char *buffer) {
    size_t have = 0;
    char *end = NULL;
    while (end == NULL) {
        if (have == RECEIVE) die("a head too long");
        ssize_t got = recv(connection, buffer + have, RECEIVE - have, 0);
        if (got <= 0) die("no answer");
        have += (size_t)got;
        buffer[have] = 0;
        end = strstr(buffer, "\r\n\r\n");
    }
    request->status = strtoul(buffer + strlen("HTTP/1.1 "), NULL, 10);
    char *field = strcasestr(buffer, "\r\ncontent-length:");
    errno = 0;
    if (request->status == 204 || strncmp(request->head, "HEAD ", 5) == 0) request->body_length = 0;
    else if (field == NULL || field > end) die("an answer without Content-Length");
    else request->body_length = strtoull(field + strlen("\r\ncontent-length:"), NULL, 10);
    uint64_t received = have - (size_t)(end + 4 - buffer);
    if (request->status / 100 != 2) fprintf(stderr, "%s\n", buffer);
    while (received < request->body_length) {
        ssize_t got = recv(connection, buffer, RECEIVE, 0);
        if (got <= 0) die("an answer that ends early");
        received += (uint64_t)got;
    }
    if (received > request->body_length) die("bytes after the answer");
}

static void *client(void *unused) {
    (void)unused;
    char *buffer = malloc(RECEIVE + 1);
    if (buffer == NULL) die("memory");
    int connection = dial();
    for (size_t taken; (taken = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < count;) {
        struct request *request = &requests[taken];
        uint64_t start = now();
        int more = request->file_length + request->tail_length > 0 ? MSG_MORE : 0;
        if (push(connection, request->head, request->head_length, more) == 0
            && push(connection, file, request->file_length, 0) == 0)
            push(connection, request->tail, request->tail_length, 0);
        answer(connection, request, buffer);
        request->elapsed_ns = now() - start;
    }
    close(connection);
    free(buffer);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int connections = atoi(argv[3]), source = open(argv[4], O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (source < 0 || fstat(source, &about)) die(argv[4]);
    if (about.st_size > 0) {
        file = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, source, 0);
        if (file == MAP_FAILED) die("mmap");
    }
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) die(argv[1]);
    size_t length;
    char *bytes = slurp(&length);
    parse(bytes, length);
    for (size_t i = 0; i < count; i++)
        if (requests[i].file_length > (uint64_t)about.st_size) die("a file too short");

    pthread_t *threads = calloc((size_t)connections, sizeof *threads);
    if (threads == NULL) die("memory");
    uint64_t began = now();
    for (int i = 0; i < connections; i++)
        if (pthread_create(&threads[i], NULL, client, NULL)) die("thread");
    for (int i = 0; i < connections; i++) pthread_join(threads[i], NULL);
    printf("%llu\n", (unsigned long long)(now() - began));
    for (size_t i = 0; i < count; i++)
        printf("%llu %llu %llu\n", (unsigned long long)requests[i].status, (unsigned long long)requests[i].elapsed_ns,
               (unsigned long long)requests[i].body_length);
    return 0;
}
