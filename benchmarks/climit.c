// climit: the limit to compare with, a WebSocket broadcast that does nothing but one send() per delivery.
//
//   cc -O2 -o climit climit.c && ./climit PORT
//
// It accepts whatever load.c opens on 127.0.0.1 and obeys lines on stdin, each answered by `done <messages>`:
//
//   single COUNT GAP_MS       COUNT messages to everybody, GAP_MS apart
//   burst COUNT SIZE GAP_MS   COUNT times SIZE messages in a row; still one send() each, nothing is joined
//
// Nobody can deliver a message to N sockets with less than N system calls (io_uring aside), so the CPU time
// this takes per delivery is the yardstick: it is the kernel's loopback TCP and hardly anything else.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "wire.h"

enum { PAYLOAD = 128, HEAD = 4, EVENTS = 512 };

static int epoll_fd, *members, n_members, *place; // the fds that are up; where in members an fd is, or -1

static void leave(int fd) {
    if (place[fd] >= 0) {
        int last = members[--n_members];
        members[place[fd]] = last;
        place[last] = place[fd];
        place[fd] = -1;
    }
    close(fd);
}

static void broadcast(void) {
    static uint8_t frame[HEAD + PAYLOAD + 1] = {0x81, 126, 0, PAYLOAD};
    char *text = (char *)frame + HEAD;
    int n = snprintf(text, PAYLOAD, "{\"type\":\"bench\",\"t\":%lu,\"pad\":\"", now_ns());
    memset(text + n, 'x', (size_t)(PAYLOAD - n - 2));
    memcpy(text + PAYLOAD - 2, "\"}", 2);
    for (int i = n_members - 1; i >= 0; i--) // from the end, since leave() fills a hole with the last one
        if (send(members[i], frame, HEAD + PAYLOAD, MSG_NOSIGNAL) != HEAD + PAYLOAD) leave(members[i]);
}

static void repeat(int count, int size, int gap_ms) {
    for (int i = 0; i < count; i++) {
        struct timespec gap = {gap_ms / 1000, gap_ms % 1000 * 1000000L};
        if (i) nanosleep(&gap, NULL);
        for (int j = 0; j < size; j++) broadcast();
    }
    printf("done %d\n", count * size);
    fflush(stdout);
}

static void obey(const char *line) {
    int count, size, gap_ms;
    if (sscanf(line, "single %d %d", &count, &gap_ms) == 2)
        repeat(count, 1, gap_ms);
    else if (sscanf(line, "burst %d %d %d", &count, &size, &gap_ms) == 3)
        repeat(count, size, gap_ms);
    else
        fprintf(stderr, "not understood: %s\n", line);
}

static void on_stdin(void) {
    static char buffer[4096];
    static size_t held;
    ssize_t n = read(STDIN_FILENO, buffer + held, sizeof buffer - 1 - held);
    if (n <= 0) exit(0); // the driver has gone
    held += (size_t)n;
    buffer[held] = 0;
    char *line = buffer, *newline;
    for (; (newline = strchr(line, '\n')); line = newline + 1) {
        *newline = 0;
        obey(line);
    }
    held = strlen(line);
    memmove(buffer, line, held + 1);
}

static void on_accept(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        place[fd] = -1;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void on_readable(int fd) {
    // The request of load.c arrives whole and its key is always the same; its later frames need no answer
    // except a close, which is answered by closing.
    static const char welcome[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    char buffer[4096];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || (place[fd] >= 0 && (buffer[0] & 15) == CLOSE)) return leave(fd);
    if (place[fd] >= 0) return;
    if (send(fd, welcome, sizeof welcome - 1, MSG_NOSIGNAL) < 0) return leave(fd);
    place[fd] = n_members;
    members[n_members++] = fd;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: climit PORT\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max > 1 << 20) files.rlim_max = 1 << 20; // the arrays below are that long
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int on = 1;
    members = calloc(files.rlim_cur, sizeof *members);
    place = calloc(files.rlim_cur, sizeof *place);

    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 4096) < 0) {
        perror("listen");
        return 1;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int watched[] = {listener, STDIN_FILENO};
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[i]};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watched[i], &event);
    }
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                on_accept(listener);
            else if (fd == STDIN_FILENO)
                on_stdin();
            else
                on_readable(fd);
        }
    }
}
