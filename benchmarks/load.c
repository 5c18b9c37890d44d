// load: holds many WebSocket connections to one local server and measures what arrives on them.
//
//   cc -O2 -o load load.c && ./load -p PORT -n COUNT [options, see usage()]
//
// One thread and one epoll set, so that on a two-core machine the measured server keeps a core to itself.
// Every `"t":<ns of CLOCK_MONOTONIC>` in an incoming payload is one delivery and its age is the latency:
// server and client run on one machine, so they share the clock. Where `,"n":<number>` follows, it must be one
// more than the connection's last. Nothing is parsed beyond that.
//
// stdout, one line each: READY when all connections are up; ROUND <k> (with -r) when k deliveries per
// connection have arrived since the last report; a JSON report on SIGUSR1, which also starts a new phase; and
// a last report at the end, that is after -d seconds, -x deliveries, SIGTERM, or when stdin is closed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
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

#include "histogram.h"
#include "wire.h"

typedef enum { CONNECTING, UPGRADING, GREETING, JOINING, OPEN, CLOSED } State;

typedef struct {
    int fd;
    uint32_t number;
    State state;
    uint32_t got;      // deliveries in this phase
    uint32_t answers;  // to the messages sent on open
    uint64_t again_at; // when a refused message is sent again, 0 if none was
    uint64_t last;     // the `"n":` of the last delivery that had one
    uint32_t kept_len; // the start of a frame whose rest has not arrived
    uint8_t *kept;
} Conn;

enum { MAX_SENDS = 16, EVENTS = 512, CONNS_PER_SOURCE = 4000, LEAVE_SECONDS = 10, RETRY_MS = 500 };

static int port, wanted = 100, in_flight = 256, seconds, n_sends, repeats = 1, modulus;
static char **tokens;
static const char *token_file;
static uint32_t n_tokens;
static const char *path = "/ws/c%d", *expected, *refusal, *sends[MAX_SENDS];
static uint64_t stop_after;
static const char *again; // what every connection sends again and again, and how often
static double again_every = 1;
static uint64_t again_sent;
static bool socketio, report_rounds;

static int epoll_fd;
static Conn *conns;
static uint32_t started, opened, failed, closed, refused, retrying;
static uint64_t frames, bytes, pings;
static uint64_t total, phase, rounds; // deliveries since the start, since the last report; of that whole rounds
static uint64_t disordered;           // deliveries whose number was not the next
static uint64_t began, latest;        // the start, and the latest delivery
static double connect_seconds;
static bool stopping, leaving;
static uint32_t close_codes[65536];
static uint8_t input[256 * 1024]; // shared: only an incomplete frame is ever kept with its connection

static void report(void) {
    uint32_t least = UINT32_MAX, most = 0;
    for (int i = 0; i < wanted; i++) {
        if (conns[i].got < least) least = conns[i].got;
        if (conns[i].got > most) most = conns[i].got;
        conns[i].got = 0;
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{\"opened\":%u,\"failed\":%u,\"closed\":%u,\"connect_s\":%.4f,\"connects_per_s\":%.0f,"
           "\"deliveries\":%lu,\"total\":%lu,\"min_per_connection\":%u,\"max_per_connection\":%u,"
           "\"frames\":%lu,\"bytes\":%lu,\"pings\":%lu,"
           "\"refused\":%u,\"disordered\":%lu,\"latest_s\":%.4f,"
           "\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f,\"cpu_s\":%.3f,"
           "\"close_codes\":{",
           opened, failed, closed, connect_seconds, connect_seconds > 0 ? opened / connect_seconds : 0, phase,
           total, least, most, frames, bytes, pings, refused, disordered, latest ? (double)(latest - began) / 1e9 : 0.0,
           percentile_ms(.5), percentile_ms(.9), percentile_ms(.99),
           percentile_ms(.999), (double)slowest / 1e6, cpu);
    const char *comma = "";
    for (int code = 0; code < 65536; code++) {
        if (!close_codes[code]) continue;
        printf("%s\"%d\":%u", comma, code, close_codes[code]);
        comma = ",";
    }
    printf("}}\n");
    fflush(stdout);
    forget_latencies();
    phase = rounds = 0;
}

// --- one connection ----------------------------------------------------------------------------------------

static void end(Conn *c, int code, const char *why) {
    if (c->state == CLOSED) return;
    if (c->again_at) c->again_at = 0, retrying--;
    if (leaving) {
        // our own doing: not news
    } else if (c->state == OPEN) {
        closed++;
        close_codes[code]++;
    } else if (failed++ == 0) {
        fprintf(stderr, "connection %u failed: %s\n", c->number, why);
    }
    c->state = CLOSED;
    close(c->fd);
    free(c->kept);
    c->kept = NULL;
    c->kept_len = 0;
}

static void say(Conn *c, int opcode, const void *payload, size_t n) {
    if (send_frame(c->fd, opcode, payload, n) < 0) end(c, 1006, "could not send");
}

static void fill(char *out, size_t room, const char *template, uint64_t number) {
    const char *hole = strstr(template, "%d");
    if (hole)
        snprintf(out, room, "%.*s%lu%s", (int)(hole - template), template, number, hole + 2);
    else
        snprintf(out, room, "%s", template);
}

static void set_open(Conn *c) {
    c->state = OPEN;
    opened++;
}

static void join(Conn *c) {
    char message[LONGEST_SENT];
    if (c->again_at) c->again_at = 0, retrying--;
    uint64_t number = (uint64_t)c->number * (uint32_t)repeats + c->answers;
    c->state = JOINING;
    for (int i = 0; i < n_sends && c->state == JOINING; i++) {
        fill(message, sizeof message, sends[i], modulus ? number % (uint32_t)modulus : number);
        say(c, TEXT, message, strlen(message));
    }
    if (!expected && c->state == JOINING) set_open(c);
}

static void on_data(Conn *c, const uint8_t *p, size_t n, uint64_t now) {
    if (socketio && n && p[0] == '0') return say(c, TEXT, "40", 2); // engine.io is open: connect
    if (socketio && n == 1 && p[0] == '2') return say(c, TEXT, "3", 1); // engine.io ping
    if (c->state == GREETING && n > 1 && !memcmp(p, "40", 2)) return join(c);
    if (c->state == JOINING && memmem(p, n, expected, strlen(expected))) {
        if (++c->answers < (uint32_t)repeats)
            join(c);
        else
            set_open(c);
    } else if (c->state == JOINING && refusal && !c->again_at && memmem(p, n, refusal, strlen(refusal))) {
        // Not all in the same moment: between once and twice the time.
        c->again_at = now + (RETRY_MS + c->number * 7919u % RETRY_MS) * 1000000ull;
        refused++, retrying++;
    }
    const uint8_t *end_of_data = p + n;
    while ((p = memmem(p, (size_t)(end_of_data - p), "\"t\":", 4))) {
        uint64_t sent = 0;
        for (p += 4; p < end_of_data && *p == ' ';) p++;
        if (p == end_of_data || *p < '0' || *p > '9') continue;
        while (p < end_of_data && *p >= '0' && *p <= '9') sent = sent * 10 + (*p++ - '0');
        record(now > sent ? now - sent : 0);
        phase++, total++, c->got++, latest = now;
        if (end_of_data - p < 6 || memcmp(p, ",\"n\":", 5)) continue;
        uint64_t in = 0;
        for (p += 5; p < end_of_data && *p >= '0' && *p <= '9';) in = in * 10 + (*p++ - '0');
        disordered += in != c->last + 1;
        c->last = in;
    }
}

// Takes every complete frame off the input; returns how many bytes that was.
static size_t on_frames(Conn *c, const uint8_t *p, size_t n, uint64_t now) {
    size_t at = 0;
    while (c->state != CLOSED) {
        const uint8_t *f = p + at;
        uint64_t len;
        size_t head = read_head(f, n - at, &len);
        if (!head) break;
        if (len > sizeof input - 10) {
            end(c, 1006, "a frame does not fit into the input buffer");
            break;
        }
        if (n - at < head + len) break;
        int opcode = f[0] & 15;
        frames++;
        bytes += head + len;
        if (opcode == CLOSE)
            end(c, len >= 2 ? f[head] << 8 | f[head + 1] : 1005, "closed by the server");
        else if (opcode == PING)
            pings++, say(c, PONG, f + head, len);
        else if (opcode <= 2)
            on_data(c, f + head, len, now);
        at += head + len;
    }
    return at;
}

static void on_readable(Conn *c) {
    // What was left over is put back in front of what arrives now.
    size_t n = c->kept_len, used = 0;
    if (n) memcpy(input, c->kept, n);
    ssize_t got = recv(c->fd, input + n, sizeof input - n, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return end(c, 1006, got ? strerror(errno) : "closed by the server");
    n += (size_t)got;
    if (c->state == UPGRADING) {
        uint8_t *head = memmem(input, n, "\r\n\r\n", 4);
        if (head && memcmp(input, "HTTP/1.1 101", 12)) {
            *(uint8_t *)memchr(input, '\r', n) = 0;
            return end(c, 1006, (char *)input);
        }
        if (head) {
            used = (size_t)(head - input) + 4;
            if (socketio)
                c->state = GREETING;
            else
                join(c);
        }
    }
    if (c->state != UPGRADING) used += on_frames(c, input + used, n - used, now_ns());
    if (c->state == CLOSED) return;
    c->kept_len = (uint32_t)(n - used);
    if (c->kept_len) {
        c->kept = realloc(c->kept, c->kept_len);
        memcpy(c->kept, input + used, c->kept_len);
    } else if (c->kept) {
        free(c->kept);
        c->kept = NULL;
    }
}

static void on_connected(Conn *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) return end(c, 1006, strerror(error));
    char target[1024], request[4096];
    const char *token = c->number < n_tokens ? tokens[c->number] : NULL;
    fill(target, sizeof target, path, c->number);
    // The key is fixed, so a test server may answer with the one right Sec-WebSocket-Accept.
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                     target, port, token ? "Authorization: Bearer " : "", token ? token : "", token ? "\r\n" : "");
    c->state = UPGRADING;
    if (send(c->fd, request, (size_t)n, MSG_NOSIGNAL) != n) return end(c, 1006, "could not send");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void start(Conn *c, uint32_t number) {
    int on = 1;
    *c = (Conn){.number = number, .state = CONNECTING};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) return end(c, 1006, strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (wanted > CONNS_PER_SOURCE) {
        // One source address has some 28,000 ports, and those of an earlier run may still be in TIME_WAIT.
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / CONNS_PER_SOURCE);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0) return end(c, 1006, strerror(errno));
    }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        return end(c, 1006, strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

// --- the loop ----------------------------------------------------------------------------------------------

static int signal_fd;

static void on_signal(void) {
    struct signalfd_siginfo info;
    while (read(signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGUSR1)
            report();
        else
            stopping = true;
    }
}

static void on_stdin(void) {
    char ignored[256];
    if (read(STDIN_FILENO, ignored, sizeof ignored) > 0) return;
    stopping = true;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
}

static void poll_once(void) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, again ? 1 : 50);
    for (int i = 0; i < n; i++) {
        Conn *c = events[i].data.ptr;
        if (c == NULL)
            on_stdin();
        else if ((void *)c == &signal_fd)
            on_signal();
        else if (c->state == CONNECTING)
            on_connected(c);
        else if (c->state != CLOSED)
            on_readable(c);
    }
}

static void try_again(void) {
    uint64_t now = now_ns();
    for (uint32_t i = 0; i < started && retrying; i++) {
        if (conns[i].again_at && conns[i].again_at <= now) join(&conns[i]);
    }
}

// Has each connection send its message in its turn, so that they are spread over the time between two of one.
static void send_again(uint64_t ready) {
    char filled[LONGEST_SENT / 2], message[LONGEST_SENT];
    uint64_t due = (uint64_t)((double)(now_ns() - ready) / 1e9 / again_every * wanted);
    for (; again_sent < due; again_sent++) {
        Conn *c = &conns[again_sent % (uint64_t)wanted];
        if (c->state != OPEN) continue;
        fill(filled, sizeof filled, again, modulus ? c->number % (uint32_t)modulus : c->number);
        const char *hole = strstr(filled, "%t");
        if (!hole) hole = filled + strlen(filled);
        snprintf(message, sizeof message, "%.*s%lu%s", (int)(hole - filled), filled, now_ns(), *hole ? hole + 2 : "");
        say(c, TEXT, message, strlen(message));
    }
}

// Closes the polite way, so that the server sees what it sees from browsers.
static void leave(void) {
    leaving = true;
    for (int i = 0; i < (int)started; i++) {
        if (conns[i].state == OPEN)
            say(&conns[i], CLOSE, "\x03\xe8", 2);
        else
            end(&conns[i], 1006, "");
    }
    uint64_t until = now_ns() + LEAVE_SECONDS * 1000000000ull;
    for (int i = 0; i < (int)started && now_ns() < until;) {
        if (conns[i].state == CLOSED)
            i++;
        else
            poll_once();
    }
}

static void watch(int fd, void *tag) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event); // refuses a plain file as stdin, which then just never ends
}

static void read_tokens(const char *name) {
    FILE *file = fopen(name, "r");
    tokens = calloc((size_t)wanted, sizeof *tokens);
    size_t room = 0;
    while (file && tokens && n_tokens < (uint32_t)wanted && getline(&tokens[n_tokens], &room, file) > 0) {
        tokens[n_tokens][strcspn(tokens[n_tokens], "\n")] = 0;
        n_tokens++;
        room = 0;
    }
    if (n_tokens != (uint32_t)wanted) {
        fprintf(stderr, "load: %s has no token for each connection\n", name);
        exit(2);
    }
    fclose(file);
}

static int usage(void) {
    fprintf(stderr, "usage: load -p PORT [-n COUNT] [-a FILE] [-u PATH] [-s MESSAGE]... [-e SUBSTRING] [-f SUBSTRING]\n"
                    "            [-c IN_FLIGHT] [-k TIMES] [-m MODULUS] [-d SECONDS] [-x DELIVERIES] [-r] [-S]\n"
                    "            [-w MESSAGE] [-i SECONDS]\n"
                    "  -a      a file with a token for each connection, a line each\n"
                    "  -u, -s  path, and messages to send on open; %%d becomes the connection's number\n"
                    "  -e      a connection is up only when a message containing this has arrived\n"
                    "  -f      a message containing this says no; what was sent on open is sent again a little later\n"
                    "  -k      send the messages so often, each time after that answer; %%d goes on counting\n"
                    "  -m      %%d in messages is what is left of its number after division by this\n"
                    "  -c      how many connections may be on their way up at once\n"
                    "  -d, -x  stop so long after READY, or after so many deliveries\n"
                    "  -r      print ROUND lines\n"
                    "  -w, -i  a message that each connection sends every so many seconds; %%t becomes the time\n"
                    "  -S      speak Socket.IO: join its default namespace first\n");
    return 2;
}

int main(int argc, char **argv) {
    for (int o; (o = getopt(argc, argv, "p:n:a:u:s:e:f:c:k:m:d:x:w:i:rS")) != -1;) {
        switch (o) {
        case 'p': port = atoi(optarg); break;
        case 'n': wanted = atoi(optarg); break;
        case 'a': token_file = optarg; break;
        case 'u': path = optarg; break;
        case 's': if (n_sends == MAX_SENDS) return usage(); sends[n_sends++] = optarg; break;
        case 'e': expected = optarg; break;
        case 'f': refusal = optarg; break;
        case 'c': in_flight = atoi(optarg); break;
        case 'k': repeats = atoi(optarg); break;
        case 'm': modulus = atoi(optarg); break;
        case 'd': seconds = atoi(optarg); break;
        case 'x': stop_after = strtoull(optarg, NULL, 10); break;
        case 'w': again = optarg; break;
        case 'i': again_every = atof(optarg); break;
        case 'r': report_rounds = true; break;
        case 'S': socketio = true; break;
        default: return usage();
        }
    }
    if (port < 1 || wanted < 1 || in_flight < 1 || repeats < 1 || modulus < 0) return usage();
    if ((repeats > 1 && !expected) || again_every <= 0) return usage();
    if (token_file) read_tokens(token_file);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1), sigaddset(&signals, SIGTERM), sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    watch(signal_fd, &signal_fd);
    watch(STDIN_FILENO, NULL);

    conns = calloc((size_t)wanted, sizeof *conns);
    uint64_t ready = 0;
    began = now_ns();
    while (!stopping) {
        while (started < (uint32_t)wanted && started - opened - failed < (uint32_t)in_flight) {
            start(&conns[started], started);
            started++;
        }
        poll_once();
        if (retrying) try_again();
        if (ready && again) send_again(ready);
        if (!ready && opened + failed == (uint32_t)wanted) {
            ready = now_ns();
            connect_seconds = (double)(ready - began) / 1e9;
            printf("READY\n");
            fflush(stdout);
        }
        if (report_rounds && ready && opened && phase / opened > rounds) {
            rounds = phase / opened;
            printf("ROUND %lu\n", rounds);
            fflush(stdout);
        }
        if (stop_after && total >= stop_after) stopping = true;
        if (seconds && ready && now_ns() - ready >= (uint64_t)seconds * 1000000000ull) stopping = true;
    }
    report();
    leave();
    return 0;
}
