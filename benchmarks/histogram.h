// Latencies in 32 buckets per power of two: a percentile is right to about 3 %, and recording costs nothing.
#include <stdint.h>
#include <string.h>

enum { SUB_BITS = 5, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS + 1) * SUB };

static uint64_t buckets[BUCKETS], recorded, slowest;

static void record(uint64_t ns) {
    int shift = ns < SUB ? 0 : 63 - __builtin_clzll(ns) - SUB_BITS;
    int row = ns < SUB ? 0 : shift + 1;
    buckets[row * SUB + (int)((ns >> shift) & (SUB - 1))]++;
    recorded++;
    if (ns > slowest) slowest = ns;
}

static double percentile_ms(double share) {
    uint64_t rank = (uint64_t)(share * (double)recorded), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen <= rank) continue;
        uint64_t low = i < SUB ? (uint64_t)i : (uint64_t)(SUB + i % SUB) << (i / SUB - 1);
        return (double)low / 1e6;
    }
    return (double)slowest / 1e6;
}

static void forget_latencies(void) {
    memset(buckets, 0, sizeof buckets);
    recorded = slowest = 0;
}
