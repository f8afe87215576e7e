/* Matrices in memory that a thread keeps from task to task, and products of them. REAL is float or double.
 *
 * The rows of a matrix are `stride` apart, a whole number of vectors, so that a product needs no special case at the
 * end of a row; what stands behind the last column never gets into a real one.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LANES ((int)(64 / sizeof(REAL)))
#ifdef __AVX512F__
#define WIDE 4
#else
#define WIDE 1 /* with half as many registers of half the size, more would not stay in them */
#endif
#define TALL 4

typedef REAL vector __attribute__((vector_size(64), aligned(sizeof(REAL)), may_alias));

typedef struct {
    REAL *at;
    int rows, columns, stride;
} matrix;

/* ---- memory ---- */

#define BLOCK ((size_t)1 << 23)

typedef struct block {
    struct block *next;
    size_t size, used;
} block;

typedef struct {
    block *first, *now;
    int64_t operations; /* of products so far */
} arena;

static block *new_block(size_t size) {
    block *made = aligned_alloc(64, 64 + size);
    if (!made) abort();
    *made = (block){NULL, size, 0};
    return made;
}

static void *take(arena *memory, size_t size) {
    size = (size + 63) / 64 * 64;
    while (memory->now->used + size > memory->now->size) {
        if (!memory->now->next) memory->now->next = new_block(size > BLOCK ? size : BLOCK);
        memory->now = memory->now->next;
        memory->now->used = 0;
    }
    void *found = (char *)memory->now + 64 + memory->now->used;
    memory->now->used += size;
    return found;
}

static matrix make(arena *memory, int rows, int columns) {
    int stride = (columns + LANES - 1) / LANES * LANES;
    return (matrix){take(memory, sizeof(REAL) * (size_t)rows * stride), rows, columns, stride};
}

static matrix zeros(arena *memory, int rows, int columns) {
    matrix made = make(memory, rows, columns);
    memset(made.at, 0, sizeof(REAL) * (size_t)rows * made.stride);
    return made;
}

static matrix copy(arena *memory, matrix from) {
    matrix made = make(memory, from.rows, from.columns);
    memcpy(made.at, from.at, sizeof(REAL) * (size_t)from.rows * made.stride);
    return made;
}

static matrix load(arena *memory, const REAL *from, int rows, int columns) {
    matrix made = zeros(memory, rows, columns);
    for (int row = 0; row < rows; row++)
        memcpy(made.at + row * made.stride, from + (size_t)row * columns, sizeof(REAL) * columns);
    return made;
}

static void store(REAL *to, matrix from) {
    for (int row = 0; row < from.rows; row++)
        memcpy(to + (size_t)row * from.columns, from.at + row * from.stride, sizeof(REAL) * from.columns);
}

static matrix transpose(arena *memory, matrix from) {
    matrix made = zeros(memory, from.columns, from.rows);
    for (int row = 0; row < from.rows; row++)
        for (int column = 0; column < from.columns; column++)
            made.at[column * made.stride + row] = from.at[row * from.stride + column];
    return made;
}

static matrix columns_of(arena *memory, matrix from, int first, int count) {
    matrix made = zeros(memory, from.rows, count);
    for (int row = 0; row < from.rows; row++)
        memcpy(made.at + row * made.stride, from.at + row * from.stride + first, sizeof(REAL) * count);
    return made;
}

/* The columns of one and those of other behind them. */
static matrix join(arena *memory, matrix one, matrix other) {
    matrix made = zeros(memory, one.rows, one.columns + other.columns);
    for (int row = 0; row < made.rows; row++) {
        REAL *place = made.at + row * made.stride;
        memcpy(place, one.at + row * one.stride, sizeof(REAL) * one.columns);
        memcpy(place + one.columns, other.at + row * other.stride, sizeof(REAL) * other.columns);
    }
    return made;
}

/* ---- products ---- */

typedef struct {
    REAL *to;
    const REAL *left, *right;
    int to_stride, by_row, by_inner, right_stride, inner, added;
    REAL alpha;
} tile;

/* A few rows and vectors of a product, whose sums stay in registers: both counts are constants to the compiler. */
static inline __attribute__((always_inline)) void form(tile t, const int tall, const int wide) {
    vector sums[TALL][WIDE];
    for (int i = 0; i < tall; i++)
        for (int j = 0; j < wide; j++) sums[i][j] = (vector){0};
    for (int k = 0; k < t.inner; k++) {
        vector found[WIDE];
        for (int j = 0; j < wide; j++) found[j] = *(const vector *)(t.right + k * t.right_stride + j * LANES);
        for (int i = 0; i < tall; i++) {
            REAL value = t.left[i * t.by_row + k * t.by_inner];
            for (int j = 0; j < wide; j++) sums[i][j] += value * found[j];
        }
    }
    for (int i = 0; i < tall; i++)
        for (int j = 0; j < wide; j++) {
            vector *place = (vector *)(t.to + i * t.to_stride + j * LANES);
            *place = t.added ? *place + t.alpha * sums[i][j] : t.alpha * sums[i][j];
        }
}

enum { PLAIN, TURNED };
enum { SET, ADDED };

/* to = alpha left right, or to += that; TURNED: with leftᵀ. */
static void multiply(arena *memory, matrix to, REAL alpha, matrix left, int turned, matrix right, int added) {
    tile t = {.by_row = turned ? 1 : left.stride, .by_inner = turned ? left.stride : 1, .alpha = alpha, .added = added};
    t.inner = turned ? left.rows : left.columns;
    t.to_stride = to.stride, t.right_stride = right.stride;
    for (int column = 0, wide; column < to.stride; column += wide * LANES) {
        wide = to.stride - column >= WIDE * LANES ? WIDE : 1;
        t.right = right.at + column;
        for (int row = 0, tall; row < to.rows; row += tall) {
            tall = to.rows - row >= TALL ? TALL : 1;
            t.to = to.at + row * to.stride + column;
            t.left = left.at + row * t.by_row;
            if (tall == TALL && wide == WIDE) form(t, TALL, WIDE);
            else if (tall == TALL) form(t, TALL, 1);
            else if (wide == WIDE) form(t, 1, WIDE);
            else form(t, 1, 1);
        }
    }
    memory->operations += (int64_t)2 * to.rows * to.columns * t.inner;
}

static matrix product(arena *memory, REAL alpha, matrix left, int turned, matrix right) {
    matrix made = make(memory, turned ? left.columns : left.rows, right.columns);
    multiply(memory, made, alpha, left, turned, right, SET);
    return made;
}

/* ---- number by number ---- */

static void add(matrix to, REAL alpha, matrix from) {
    for (int place = 0; place < to.rows * to.stride; place++) to.at[place] += alpha * from.at[place];
}

static void add_number(matrix to, REAL value) {
    for (int place = 0; place < to.rows * to.stride; place++) to.at[place] += value;
}

static void add_to_rows(matrix to, REAL alpha, const REAL *values) {
    for (int row = 0; row < to.rows; row++)
        for (int column = 0; column < to.columns; column++) to.at[row * to.stride + column] += alpha * values[column];
}

static void scale(matrix of, REAL alpha) {
    for (int place = 0; place < of.rows * of.stride; place++) of.at[place] *= alpha;
}

static void scale_each(matrix of, const REAL *values) {
    for (int row = 0; row < of.rows; row++)
        for (int column = 0; column < of.columns; column++)
            of.at[row * of.stride + column] *= values[row * of.columns + column];
}

static void subtract_each(matrix from, const REAL *values) {
    for (int row = 0; row < from.rows; row++)
        for (int column = 0; column < from.columns; column++)
            from.at[row * from.stride + column] -= values[row * from.columns + column];
}

static void relu(matrix of) {
    for (int place = 0; place < of.rows * of.stride; place++) of.at[place] = of.at[place] <= 0 ? 0 : of.at[place];
}

/* Slopes by what a ReLU gave become slopes by what it took. */
static void through_relu(matrix slopes, matrix given) {
    for (int place = 0; place < slopes.rows * slopes.stride; place++)
        slopes.at[place] = given.at[place] <= 0 ? 0 : slopes.at[place];
}

/* ---- sums ---- */

static matrix sum_of_rows(arena *memory, matrix of) {
    matrix made = zeros(memory, 1, of.columns);
    for (int row = 0; row < of.rows; row++)
        for (int column = 0; column < of.stride; column++) made.at[column] += of.at[row * of.stride + column];
    return made;
}

static REAL total(matrix of) {
    REAL sum = 0;
    for (int row = 0; row < of.rows; row++) {
        const REAL *values = of.at + row * of.stride;
#pragma omp simd reduction(+ : sum)
        for (int column = 0; column < of.columns; column++) sum += values[column];
    }
    return sum;
}

static REAL dot(matrix one, matrix other) {
    REAL sum = 0;
    for (int row = 0; row < one.rows; row++) {
        const REAL *left = one.at + row * one.stride, *right = other.at + row * other.stride;
#pragma omp simd reduction(+ : sum)
        for (int column = 0; column < one.columns; column++) sum += left[column] * right[column];
    }
    return sum;
}
