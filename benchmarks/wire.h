// The little of RFC 6455 that a benchmark needs, and the clock that both ends share.
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10, LONGEST_SENT = 4096 };

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Sends one frame as a client; -1 if it does not go out at once. The mask is all zeros, so the payload stays as is.
static inline int send_frame(int fd, int opcode, const void *payload, size_t n) {
    uint8_t frame[LONGEST_SENT + 8];
    size_t k = 0;
    if (n > LONGEST_SENT) return -1;
    frame[k++] = (uint8_t)(0x80 | opcode);
    if (n < 126) {
        frame[k++] = (uint8_t)(0x80 | n);
    } else {
        frame[k++] = 0x80 | 126;
        frame[k++] = (uint8_t)(n >> 8);
        frame[k++] = (uint8_t)n;
    }
    memset(frame + k, 0, 4);
    memcpy(frame + k + 4, payload, n);
    return send(fd, frame, k + 4 + n, MSG_NOSIGNAL) == (ssize_t)(k + 4 + n) ? 0 : -1;
}

// The length of a server frame's head, and through `payload` that of what follows it; 0 if the head is incomplete.
static inline size_t read_head(const uint8_t *p, size_t n, uint64_t *payload) {
    if (n < 2) return 0;
    int kind = p[1] & 127;
    size_t extra = kind == 127 ? 8 : kind == 126 ? 2 : 0;
    if (n < 2 + extra) return 0;
    *payload = extra ? 0 : (uint64_t)kind;
    for (size_t i = 0; i < extra; i++) *payload = *payload << 8 | p[2 + i];
    return 2 + extra;
}
