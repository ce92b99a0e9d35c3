/* Pixel operations of the host, compiled. reference.py does the same in NumPy, with bit-identical results: sums have
 * the same order, and no multiplication is fused with an addition (-ffp-contract=off). */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

const int version = 2; /* of the arguments of the functions that Python calls; see __init__.py */

/* One clone per generation of processors; the dynamic linker picks. */
#if defined(__x86_64__) && defined(__gnu_linux__) && __GNUC__ >= 12
#define VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__gnu_linux__)
#define VECTORIZED __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define VECTORIZED
#endif

/* How to make `size` pixels along one axis, each from groups of 4 neighbors. at: (groups, size), the first of the 4.
 * weight: (4 groups, size). low, high: the span of the pixels with nonzero weights. */
typedef struct {
    const int32_t *at;
    const float *weight;
    int32_t groups, size, low, high;
} Filter;

typedef uint32_t Four __attribute__((aligned(1), may_alias));

VECTORIZED
static void across(const uint8_t *restrict row, const Filter *filter, float *restrict out)
{
    const int size = filter->size;
    for (int group = 0; group < filter->groups; group++) {
        const int32_t *restrict at = filter->at + (ptrdiff_t)group * size;
        const float *restrict w0 = filter->weight + (ptrdiff_t)4 * group * size;
        const float *restrict w1 = w0 + size, *restrict w2 = w1 + size, *restrict w3 = w2 + size;
        for (ptrdiff_t i = 0; i < size; i++) {
            const uint32_t four = *(const Four *)(row + at[i]); /* little-endian, as x86 and ARM are */
            const float sum = w0[i] * (float)(int32_t)(four & 255) + w1[i] * (float)(int32_t)(four >> 8 & 255)
                + w2[i] * (float)(int32_t)(four >> 16 & 255) + w3[i] * (float)(int32_t)(four >> 24);
            out[i] = group ? out[i] + sum : sum;
        }
    }
}

VECTORIZED
static void down(const float *restrict rows, const Filter *filter, int i, int width, float *restrict out)
{
    memset(out, 0, sizeof *out * width);
    for (int k = 0; k < 4 * filter->groups; k++) {
        const float weight = filter->weight[(ptrdiff_t)k * filter->size + i];
        if (weight == 0)
            continue;
        const int32_t at = filter->at[(ptrdiff_t)(k / 4) * filter->size + i] + k % 4 - filter->low;
        const float *restrict row = rows + (ptrdiff_t)at * width;
        for (ptrdiff_t x = 0; x < width; x++)
            out[x] += weight * row[x];
    }
}

/* Scale a part of a plane to (y->size, x->size). rows: room for y->high - y->low rows of it. */
static void scaled(const uint8_t *plane, ptrdiff_t stride, const Filter *y, const Filter *x, float *out, float *rows)
{
    for (int row = y->low; row < y->high; row++)
        across(plane + stride * row, x, rows + (ptrdiff_t)(row - y->low) * x->size);
    for (int i = 0; i < y->size; i++)
        down(rows, y, i, x->size, out + (ptrdiff_t)i * x->size);
}

static inline uint8_t rounded(float level)
{
    level = level < 0 ? 0 : level;
    level = level > 255 ? 255 : level;
    return (uint8_t)(int32_t)(level + 0.5f);
}

VECTORIZED
static void mixed(const float *restrict a, const float *restrict b, const float *restrict c, const float *m, int count,
                  uint8_t *restrict out)
{
    const float m0 = m[0], m1 = m[1], m2 = m[2], m3 = m[3], m4 = m[4], m5 = m[5];
    const float m6 = m[6], m7 = m[7], m8 = m[8], m9 = m[9], m10 = m[10], m11 = m[11];
    for (ptrdiff_t i = 0; i < count; i++) {
        out[3 * i] = rounded(m0 * a[i] + m1 * b[i] + m2 * c[i] + m3);
        out[3 * i + 1] = rounded(m4 * a[i] + m5 * b[i] + m6 * c[i] + m7);
        out[3 * i + 2] = rounded(m8 * a[i] + m9 * b[i] + m10 * c[i] + m11);
    }
}

/* Means of R, G and B. Compilers vectorize sums of every 48th byte, not of every third; they hold 16 million pixels. */
VECTORIZED
static void channel_means(const uint8_t *restrict pixels, int count, float *restrict means)
{
    uint32_t sums[48] = {0};
    const ptrdiff_t bytes = 3 * (ptrdiff_t)count, whole = bytes / 48 * 48;
    for (ptrdiff_t i = 0; i < whole; i += 48)
        for (int k = 0; k < 48; k++)
            sums[k] += pixels[i + k];
    for (ptrdiff_t i = whole; i < bytes; i++)
        sums[i - whole] += pixels[i];
    for (int k = 3; k < 48; k++)
        sums[k % 3] += sums[k];
    for (int c = 0; c < 3; c++)
        means[c] = (float)sums[c] / (float)count;
}

/* color: (3, 7), in each row the factors of R, G and B, of their means, and of 1. */
static int has_means(const float *color)
{
    for (int row = 0; row < 3; row++, color += 7)
        if (color[3] != 0 || color[4] != 0 || color[5] != 0)
            return 1;
    return 0;
}

/* m: (3, 4), a color with the means folded into the last column. */
static void without_means(const float *color, const float *means, float *m)
{
    for (int row = 0; row < 3; row++, color += 7, m += 4) {
        memcpy(m, color, 3 * sizeof *m);
        m[3] = color[6] + (color[3] * means[0] + color[4] * means[1] + color[5] * means[2]);
    }
}

VECTORIZED
static void recolored(uint8_t *restrict pixels, const float *m, int count)
{
    const float m0 = m[0], m1 = m[1], m2 = m[2], m3 = m[3], m4 = m[4], m5 = m[5];
    const float m6 = m[6], m7 = m[7], m8 = m[8], m9 = m[9], m10 = m[10], m11 = m[11];
    for (ptrdiff_t i = 0; i < count; i++) {
        const float a = pixels[3 * i], b = pixels[3 * i + 1], c = pixels[3 * i + 2];
        pixels[3 * i] = rounded(m0 * a + m1 * b + m2 * c + m3);
        pixels[3 * i + 1] = rounded(m4 * a + m5 * b + m6 * c + m7);
        pixels[3 * i + 2] = rounded(m8 * a + m9 * b + m10 * c + m11);
    }
}

/* a, b, c: 3 planes, from where their axes start, with their strides. filters: y and x of each. matrix: (3, 4). room:
 * for 3 planes of the result, and for the rows of the highest part. out: (size, size, 3). */
void cut(const uint8_t *a, const uint8_t *b, const uint8_t *c, int64_t a_stride, int64_t b_stride, int64_t c_stride,
         const Filter *filters, const float *matrix, float *room, uint8_t *out)
{
    const uint8_t *planes[] = {a, b, c};
    const int64_t strides[] = {a_stride, b_stride, c_stride};
    const ptrdiff_t count = (ptrdiff_t)filters[0].size * filters[1].size;
    for (int p = 0; p < 3; p++)
        scaled(planes[p], strides[p], filters + 2 * p, filters + 2 * p + 1, room + p * count, room + 3 * count);
    mixed(room, room + count, room + 2 * count, matrix, count, out);
}

/* clip: (frames, count, 3), changed in place. colors: (frames, 3, 7). */
void recolor(uint8_t *clip, const float *colors, int32_t frames, int32_t count)
{
    for (int t = 0; t < frames; t++, clip += (ptrdiff_t)3 * count, colors += 21) {
        float m[12], means[3] = {0};
        if (has_means(colors))
            channel_means(clip, count, means);
        without_means(colors, means, m);
        recolored(clip, m, count);
    }
}

/* clip: (frames, count, 3), changed in place. sources: (count,), -1 for black. room: for count + 1 pixels. */
void gather(uint8_t *clip, const int32_t *sources, int32_t frames, int32_t count, uint8_t *room)
{
    memset(room, 0, 3); /* black */
    for (int t = 0; t < frames; t++, clip += (ptrdiff_t)3 * count) {
        memcpy(room + 3, clip, (size_t)3 * count);
        for (ptrdiff_t i = 0; i < count; i++)
            memcpy(clip + 3 * i, room + 3 * ((ptrdiff_t)sources[i] + 1), 3);
    }
}

VECTORIZED
static void weighted(const float *middle, ptrdiff_t step, const float *weights, int reach, int width,
                     float *restrict out)
{
    for (ptrdiff_t x = 0; x < width; x++)
        out[x] = middle[x] * weights[0];
    for (int k = 1; k <= reach; k++) {
        const float *before = middle - k * step, *after = middle + k * step, weight = weights[k];
        for (ptrdiff_t x = 0; x < width; x++)
            out[x] += (before[x] + after[x]) * weight;
    }
}

VECTORIZED
static void widened(const uint8_t *restrict in, int count, float *restrict out)
{
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = in[i];
}

VECTORIZED
static void narrowed(const float *restrict in, int count, uint8_t *restrict out)
{
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = (uint8_t)(int32_t)(in[i] + 0.5f);
}

static int reflected(int at, int length)
{
    at = at < 0 ? -at : at;
    return at < length ? at : 2 * (length - 1) - at;
}

static void blurred(uint8_t *picture, int height, int width, const float *weights, int reach, float *room)
{
    const ptrdiff_t row = 3 * (ptrdiff_t)width;
    float *rows = room, *line = rows + (height + 2 * reach) * row, *out = line + row + 6 * reach;
    for (int y = -reach; y < height + reach; y++)
        widened(picture + reflected(y, height) * row, row, rows + (y + reach) * row);
    for (int y = 0; y < height; y++) {
        weighted(rows + (y + reach) * row, row, weights, reach, row, line + 3 * reach);
        for (int x = 1; x <= reach; x++) {
            memcpy(line + 3 * (reach - x), line + 3 * (reach + reflected(-x, width)), 3 * sizeof *line);
            memcpy(line + 3 * (reach + width - 1 + x), line + 3 * (reach + reflected(width - 1 + x, width)),
                   3 * sizeof *line);
        }
        weighted(line + 3 * reach, 3, weights, reach, row, out);
        narrowed(out, row, picture + y * row);
    }
}

/* clip: (frames, height, width, 3), blurred in place, vertically and then horizontally. weights: of the center and of
 * `reach` neighbors, fewer than there are pixels. room: for height + 2 reach + 2 rows of width + 2 reach pixels. */
void blur(uint8_t *clip, int32_t frames, int32_t height, int32_t width, const float *weights, int32_t reach,
          float *room)
{
    for (int t = 0; t < frames; t++)
        blurred(clip + (ptrdiff_t)3 * height * width * t, height, width, weights, reach, room);
}

VECTORIZED
static void between(const float *restrict first, const float *restrict second, float share, int count,
                    float *restrict out)
{
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = (second[i] - first[i]) * share + first[i];
}

/* For each of `made` pixels: the one of `length` pixels before it, and its share of the way to the next one. */
static void places(int length, int made, int32_t *at, float *share)
{
    const double scale = (double)length / made, last = length - 1;
    for (int i = 0; i < made; i++) {
        double place = (i + 0.5) * scale - 0.5;
        place = place < 0 ? 0 : place;
        place = place > last ? last : place;
        at[i] = (int32_t)place;
        share[i] = (float)(place - at[i]);
    }
}

/* Blend a patch, (height, width, 4) with the mask as fourth channel, into boxes of a clip, (frames, size, size, 3); see
 * __init__.py. boxes: (frames, 4), y, x, height, width. opacity: (frames,). room: for a row of the patch and 4 of `size`
 * numbers. */
void paste(uint8_t *clip, int32_t frames, int32_t size, const float *patch, int32_t height, int32_t width,
           const int32_t *boxes, const float *opacity, float *room)
{
    int32_t *rows = (int32_t *)room, *columns = rows + size;
    float *down = room + 2 * size, *right = down + size, *row = right + size;
    for (int t = 0; t < frames; t++, clip += (ptrdiff_t)3 * size * size, boxes += 4) {
        if (opacity[t] == 0)
            continue;
        places(height, boxes[2], rows, down);
        places(width, boxes[3], columns, right);
        for (int y = 0; y < boxes[2]; y++) {
            uint8_t *out = clip + 3 * ((ptrdiff_t)(boxes[0] + y) * size + boxes[1]);
            const int below = rows[y] + (rows[y] < height - 1);
            between(patch + (ptrdiff_t)4 * width * rows[y], patch + (ptrdiff_t)4 * width * below, down[y], 4 * width,
                    row);
            for (int x = 0; x < boxes[3]; x++, out += 3) {
                const float *first = row + 4 * columns[x], *second = first + 4 * (columns[x] < width - 1);
                float mixed[4];
                for (int c = 0; c < 4; c++)
                    mixed[c] = (second[c] - first[c]) * right[x] + first[c];
                const float alpha = mixed[3] * opacity[t];
                for (int c = 0; c < 3; c++)
                    out[c] = (uint8_t)(int32_t)((mixed[c] - out[c]) * alpha + out[c] + 0.5f);
            }
        }
    }
}
