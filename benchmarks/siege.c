// siege: many connections to one local server that do their worst, each in turn in every way there is.
//
//   cc -O2 -o siege siege.c && ./siege -p PORT -n COUNT -a TOKENS [-r SECONDS] [-o WAY]
//
// One thread and one epoll set. Connection i begins with way i modulo the number of ways and goes on to the next
// every -r seconds, or as soon as the server has thrown it out. Those that need to be inside bring a good token.
//
// stdout: READY when it has begun, and one JSON line at the end, that is on SIGTERM or when stdin is closed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "wire.h"

typedef enum {
    SLOW_HEAD, SLOW_READER, PINGS, FRAGMENTS, MESSAGES, GARBAGE, JOINS, BAD_TOKENS, HUGE, BOMBS, WAYS
} Way;
typedef enum { IDLE, CONNECTING, UPGRADING, INSIDE } State;

static const char *names[WAYS] = {"slow heads", "slow readers",  "pings",      "fragments",     "messages",
                                  "garbage",    "joins, leaves", "bad tokens", "huge messages", "bombs"};

// `size` bytes that are sent again and again, after the first time from `again_from`.
typedef struct { uint8_t *bytes; size_t size, again_from; } Weapon;

typedef struct {
    int fd;
    uint32_t number;
    Way way;
    State state;
    uint64_t way_until, act_at;
    size_t sent; // of the weapon, and of a slow head
} Conn;

enum { EVENTS = 512, CONNS_PER_SOURCE = 4000, ACT_MS = 20, DRIP_MS = 500, RETRY_MS = 50, PIECE = 16384 };

static int port, wanted = 2000, only = -1, epoll_fd, signal_fd;
static double rotate = 4;
static const char *token_file;
static char **tokens;
static Conn *conns;
static Weapon weapons[WAYS];
static bool stopping;
static uint64_t connects[WAYS], refused[WAYS], thrown_out[WAYS], bytes_sent[WAYS];
static const char *head_format = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                                 "%sAuthorization: Bearer %s\r\n\r\n";

// --- weapons -----------------------------------------------------------------------------------------------

static void add(Weapon *w, int first, const void *payload, size_t n) {
    w->bytes = realloc(w->bytes, w->size + n + 14);
    uint8_t *p = w->bytes + w->size, *from = p;
    *p++ = (uint8_t)first;
    if (n < 126) {
        *p++ = (uint8_t)(0x80 | n);
    } else if (n < 65536) {
        *p++ = 0xFE, *p++ = (uint8_t)(n >> 8), *p++ = (uint8_t)n;
    } else {
        *p++ = 0xFF;
        for (int shift = 56; shift >= 0; shift -= 8) *p++ = (uint8_t)((uint64_t)n >> shift);
    }
    memset(p, 0, 4), p += 4;
    memcpy(p, payload, n);
    w->size += (size_t)(p - from) + n;
}

static void say(Weapon *w, const char *text) { add(w, 0x81, text, strlen(text)); }

static void forge(const char *bomb_file) {
    static char huge[65536], noise[PIECE], text[128];
    for (int i = 0; i < PIECE / 6; i++) add(&weapons[PINGS], 0x89, "", 0);
    add(&weapons[FRAGMENTS], 0x01, "", 0); // a message that begins once and never ends
    weapons[FRAGMENTS].again_from = weapons[FRAGMENTS].size;
    for (int i = 0; i < PIECE / 6; i++) add(&weapons[FRAGMENTS], 0x00, "", 0);
    for (int i = 0; i < 200; i++) {
        say(&weapons[MESSAGES], "{\"type\":\"ping\",\"id\":1}");
        say(&weapons[MESSAGES], "{\"type\":\"publish\",\"group_name\":\"nobody\",\"data\":{\"a\":[1,2,3]}}");
        snprintf(text, sizeof text, "{\"type\":\"join_group\",\"group_name\":\"hostile%d\"}", i);
        say(&weapons[JOINS], text);
        snprintf(text, sizeof text, "{\"type\":\"leave_group\",\"group_name\":\"hostile%d\"}", i);
        say(&weapons[JOINS], text);
    }
    srandom(1);
    for (int i = 0; i < PIECE; i++) noise[i] = (char)random();
    weapons[GARBAGE].bytes = (uint8_t *)noise, weapons[GARBAGE].size = PIECE;
    // Nested as deep as it gets; then one that is too big.
    memset(huge, '[', sizeof huge);
    for (int i = 0; i < 8; i++) add(&weapons[HUGE], 0x81, huge, 65000);
    add(&weapons[HUGE], 0x81, huge, 65536);
    FILE *bomb = fopen(bomb_file, "r");
    if (bomb) {
        size_t n = fread(huge, 1, sizeof huge, bomb);
        fclose(bomb);
        for (int i = 0; i < 20; i++) add(&weapons[BOMBS], 0xC1, huge, n);
    }
}

// --- one connection ----------------------------------------------------------------------------------------

static void leave(Conn *c, uint64_t now) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1, c->state = IDLE, c->sent = 0;
    c->act_at = now + RETRY_MS * 1000000ull;
}

static void next_way(Conn *c, uint64_t now) {
    if (only < 0) c->way = (c->way + 1) % WAYS;
    c->way_until = now + (uint64_t)(rotate * 1e9);
}

static void come(Conn *c) {
    int on = 1, small = 4096;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return leave(c, now_ns());
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->way == SLOW_READER) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    // Gone with a reset: else their ports would be in TIME_WAIT, and soon there were none left.
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 16 + c->number / CONNS_PER_SOURCE);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    bind(c->fd, (struct sockaddr *)&at, sizeof at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK), at.sin_port = htons((uint16_t)port);
    if (connect(c->fd, (struct sockaddr *)&at, sizeof at) < 0 && errno != EINPROGRESS) return leave(c, now_ns());
    c->state = CONNECTING;
    connects[c->way]++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void on_connected(Conn *c, uint64_t now) {
    char head[16384];
    bool bad = c->way == BAD_TOKENS;
    int n = snprintf(head, sizeof head, head_format, port,
                     c->way == BOMBS ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "", tokens[c->number]);
    if (bad) head[n - 6] ^= 1; // in the signature
    c->state = UPGRADING;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
    if (c->way == SLOW_HEAD) {
        c->act_at = now;
    } else if (send(c->fd, head, (size_t)n, MSG_NOSIGNAL) != n) {
        thrown_out[c->way]++;
        leave(c, now);
    }
}

static void act(Conn *c, uint64_t now) {
    c->act_at = now + ACT_MS * 1000000ull;
    ssize_t sent;
    if (c->way == SLOW_HEAD) {
        c->act_at = now + DRIP_MS * 1000000ull;
        sent = send(c->fd, head_format + c->sent++ % 30, 1, MSG_NOSIGNAL);
    } else {
        Weapon *w = &weapons[c->way];
        if (c->way == SLOW_READER || !w->size) return;
        size_t piece = w->size - c->sent < PIECE ? w->size - c->sent : PIECE;
        sent = send(c->fd, w->bytes + c->sent, piece, MSG_NOSIGNAL);
        if (sent > 0) c->sent += (size_t)sent;
        if (c->sent == w->size) c->sent = w->again_from;
    }
    if (sent > 0) bytes_sent[c->way] += (uint64_t)sent;
    if (sent < 0 && errno != EAGAIN) {
        thrown_out[c->way]++;
        leave(c, now);
    }
}

static void on_readable(Conn *c, uint64_t now) {
    static uint8_t input[65536];
    if (c->state == INSIDE && c->way == SLOW_READER) {
        // It reads nothing, and is told by epoll alone that it was thrown out.
        struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
        return;
    }
    ssize_t got = recv(c->fd, input, sizeof input, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        thrown_out[c->way]++;
        return leave(c, now);
    }
    if (c->state != UPGRADING) return;
    if (got < 12 || memcmp(input, "HTTP/1.1 101", 12)) {
        refused[c->way]++;
        return leave(c, now);
    }
    c->state = INSIDE;
    c->act_at = now;
    if (c->way == SLOW_READER) {
        const char *join = "{\"type\":\"join_group\",\"group_name\":\"busy\"}";
        send_frame(c->fd, TEXT, join, strlen(join));
    }
}

// --- the loop ----------------------------------------------------------------------------------------------

static void poll_once(void) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, 5);
    uint64_t now = now_ns();
    for (int i = 0; i < n; i++) {
        Conn *c = events[i].data.ptr;
        if (c == NULL) {
            char ignored[256];
            if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) stopping = true;
        } else if ((void *)c == &signal_fd) {
            stopping = true;
        } else if (events[i].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
            thrown_out[c->way]++;
            leave(c, now);
        } else if (c->state == CONNECTING) {
            on_connected(c, now);
        } else if (c->state != IDLE) {
            on_readable(c, now);
        }
    }
    now = now_ns();
    for (int i = 0; i < wanted; i++) {
        Conn *c = &conns[i];
        if (c->way_until <= now) {
            leave(c, now);
            next_way(c, now);
        } else if (c->act_at > now) {
            continue;
        } else if (c->state == IDLE) {
            come(c);
        } else if (c->state == INSIDE || (c->state == UPGRADING && c->way == SLOW_HEAD)) {
            act(c, now);
        }
    }
}

static void read_tokens(void) {
    FILE *file = fopen(token_file, "r");
    tokens = calloc((size_t)wanted, sizeof *tokens);
    size_t room = 0;
    int n = 0;
    while (file && n < wanted && getline(&tokens[n], &room, file) > 0) {
        tokens[n][strcspn(tokens[n], "\n")] = 0;
        n++, room = 0;
    }
    if (n < wanted) {
        fprintf(stderr, "siege: %s has no token for each connection\n", token_file);
        exit(2);
    }
    fclose(file);
}

static void report(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"cpu_s\":%.3f,\"ways\":{", cpu);
    for (int way = 0; way < WAYS; way++)
        printf("%s\"%s\":{\"connects\":%lu,\"refused\":%lu,\"thrown_out\":%lu,\"bytes\":%lu}", way ? "," : "",
               names[way], connects[way], refused[way], thrown_out[way], bytes_sent[way]);
    printf("}}\n");
    fflush(stdout);
}

static void watch(int fd, void *tag) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
    const char *bomb_file = "";
    for (int o; (o = getopt(argc, argv, "p:n:a:b:r:o:")) != -1;) {
        switch (o) {
        case 'p': port = atoi(optarg); break;
        case 'n': wanted = atoi(optarg); break;
        case 'a': token_file = optarg; break;
        case 'b': bomb_file = optarg; break;
        case 'r': rotate = atof(optarg); break;
        case 'o': only = atoi(optarg); break;
        default: port = 0;
        }
    }
    if (port < 1 || wanted < 1 || !token_file || only >= WAYS) {
        fprintf(stderr, "usage: siege -p PORT -a TOKENS [-n COUNT] [-b BOMB] [-r SECONDS] [-o WAY]\n"
                        "  -a  a file with a token for each connection, a line each\n"
                        "  -b  a file with a deflated message\n"
                        "  -r  how long a connection keeps to one way\n"
                        "  -o  one way alone, by its number\n");
        return 2;
    }
    read_tokens();
    forge(bomb_file);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM), sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    watch(signal_fd, &signal_fd);
    watch(STDIN_FILENO, NULL);

    conns = calloc((size_t)wanted, sizeof *conns);
    uint64_t now = now_ns();
    for (int i = 0; i < wanted; i++) {
        // They come within a second, and do not all change their ways in the same moment.
        uint64_t later = (uint64_t)i * 1000000000ull / (uint64_t)wanted;
        conns[i] = (Conn){.fd = -1, .number = (uint32_t)i, .way = only < 0 ? (Way)(i % WAYS) : (Way)only};
        conns[i].act_at = now + later;
        conns[i].way_until = now + later + (uint64_t)(rotate * 1e9);
    }
    printf("READY\n");
    fflush(stdout);
    while (!stopping) poll_once();
    report();
    return 0;
}
