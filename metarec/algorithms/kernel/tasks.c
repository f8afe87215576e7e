/* Gradient steps on a stack of linear layers and the gradient through them, task after task: what `low_rank.py` and
 * `low_rank_gradient.py` do for groups of tasks, and by their names. No row is padding, a task's numbers stay in the
 * cache of a core, and tasks are shared out to threads.
 */

#include "matrices.h"

/* What a call is given and where it writes, as `packed_losses.py` says. */
typedef struct {
    int64_t num_threads, num_tasks, num_query, num_heads, num_features, num_outputs, num_later, num_steps, num_shared;
    int64_t first_order, wants_gradient;
    const int64_t *widths, *cuts, *starts;
    const REAL *inputs, *outputs, *constant_outputs, *norm, *shared;
    const REAL *support_rest, *slope, *query_rest, *query_weight;
    const uint8_t *query_observed, *absolute;
    REAL *losses, *by_inputs, *by_outputs, *by_constant_outputs, *by_norm, *by_shared;
    int64_t *operations, *bytes;
} problem;

/* The rates of a step: of W_l at 2 l and of b_l at 2 l + 1, of D behind them. */
static int rates_of(const problem *p) { return 2 * (int)p->num_later + 3; }

/* A step: the weights it is taken at, X of the later layers, δ and Σ_rows δ of all. */
typedef struct {
    matrix moved, shift;
    matrix *weights, *turned, *biases; /* turned: W_lᵀ */
    matrix *inputs, *deltas, *totals;
} step;

static step make_step(arena *memory, int later) {
    matrix *all = take(memory, sizeof(matrix) * (6 * later + 2));
    return (step){.weights = all,
                  .turned = all + later,
                  .biases = all + 2 * later,
                  .inputs = all + 3 * later,
                  .deltas = all + 4 * later,
                  .totals = all + 5 * later + 1};
}

/* What belongs to the first layer, and behind it what belongs to the direct path where there is one. */
static matrix beside(arena *memory, const problem *p, matrix first, matrix straight) {
    return first.columns == p->num_outputs ? first : join(memory, first, straight);
}

/* ---- the way to the scores ---- */

/* The scores of rows of which the first layer gives `outputs`; `inputs` takes X of the later layers. */
static matrix through_layers(arena *memory, const problem *p, matrix outputs, const step *at, matrix *inputs) {
    int width = (int)p->widths[0], has_direct = p->num_outputs > width;
    matrix straight = outputs;
    if (has_direct) {
        straight = columns_of(memory, outputs, width, (int)p->num_heads);
        outputs = columns_of(memory, outputs, 0, width);
    }
    for (int layer = 0; layer < p->num_later; layer++) {
        relu(outputs);
        inputs[layer] = outputs;
        outputs = product(memory, 1, inputs[layer], PLAIN, at->turned[layer]);
        add_to_rows(outputs, 1, at->biases[layer].at);
    }
    if (has_direct) add(outputs, 1, straight);
    return outputs;
}

/* X, δ and Σ δ of a step, given what the first layer gave before any step. */
static void take_gradient(arena *memory, const problem *p, step *now, matrix outputs, const REAL *rest,
                          const REAL *slope) {
    int later = (int)p->num_later;
    matrix scores = through_layers(memory, p, outputs, now, now->inputs);
    subtract_each(scores, rest);
    scale_each(scores, slope);
    now->deltas[later] = scores;
    for (int layer = later - 1; layer >= 0; layer--) {
        now->deltas[layer] = product(memory, 1, now->deltas[layer + 1], PLAIN, now->weights[layer]);
        through_relu(now->deltas[layer], now->inputs[layer]);
    }
    for (int layer = 0; layer <= later; layer++) now->totals[layer] = sum_of_rows(memory, now->deltas[layer]);
}

/* The weights after a step. */
static step move(arena *memory, const problem *p, const step *now, const REAL *rates) {
    int later = (int)p->num_later;
    step next = make_step(memory, later);
    matrix first = copy(memory, now->deltas[0]), straight = copy(memory, now->deltas[later]);
    matrix shift = copy(memory, now->totals[0]);
    scale(first, rates[0]);
    scale(shift, rates[1]);
    scale(straight, rates[2 * later + 2]);
    next.moved = beside(memory, p, first, straight);
    next.shift = beside(memory, p, shift, zeros(memory, 1, (int)p->num_heads)); /* D has no bias */
    add(next.moved, 1, now->moved);
    add(next.shift, 1, now->shift);
    for (int layer = 0; layer < later; layer++) {
        matrix weight = copy(memory, now->weights[layer]), bias = copy(memory, now->biases[layer]);
        multiply(memory, weight, -rates[2 * layer + 2], now->deltas[layer + 1], TURNED, now->inputs[layer], ADDED);
        add(bias, -rates[2 * layer + 3], now->totals[layer + 1]);
        next.weights[layer] = weight, next.turned[layer] = transpose(memory, weight), next.biases[layer] = bias;
    }
    return next;
}

/* ---- the way back ---- */

/* The gradient at some place of it, as `_WayBack` has it. */
typedef struct {
    matrix moved, shift, outputs, gram;
    matrix *weights, *biases, *deltas, *inputs;
} way_back;

/* From the weights after a step to the gradient that it took. */
static void through_moves(arena *memory, const problem *p, const step *now, way_back *back, const REAL *rates,
                          REAL *by_rates) {
    int later = (int)p->num_later, width = (int)p->widths[0];
    for (int layer = 0; layer < later; layer++) {
        REAL alpha = rates[2 * layer + 2], beta = rates[2 * layer + 3];
        matrix weight = back->weights[layer], bias = back->biases[layer], delta = now->deltas[layer + 1];
        matrix by_delta = product(memory, 1, now->inputs[layer], PLAIN, transpose(memory, weight));
        by_rates[2 * layer + 2] -= dot(by_delta, delta);
        by_rates[2 * layer + 3] -= dot(bias, now->totals[layer + 1]);
        scale(by_delta, -alpha);
        add_to_rows(by_delta, -beta, bias.at);
        back->deltas[layer + 1] = by_delta;
        back->inputs[layer] = product(memory, -alpha, delta, PLAIN, weight);
    }
    matrix moved = columns_of(memory, back->moved, 0, width), shift = columns_of(memory, back->shift, 0, width);
    by_rates[0] += dot(moved, now->deltas[0]);
    by_rates[1] += dot(shift, now->totals[0]);
    scale(moved, rates[0]);
    add_to_rows(moved, rates[1], shift.at);
    back->deltas[0] = moved;
    if (p->num_outputs > width) {
        matrix straight = columns_of(memory, back->moved, width, (int)p->num_heads);
        by_rates[2 * later + 2] += dot(straight, now->deltas[later]);
        add(back->deltas[later], rates[2 * later + 2], straight);
    }
}

/* From the gradient that a step took to the weights that it was taken at; `gram` is NULL at the first step, before
 * which nothing has moved. */
static void through_gradient(arena *memory, const problem *p, const step *now, way_back *back, const REAL *slope,
                             const matrix *gram) {
    int later = (int)p->num_later;
    for (int layer = 0; layer < later; layer++) {
        matrix bar = back->deltas[layer];
        through_relu(bar, now->inputs[layer]);
        multiply(memory, back->weights[layer], 1, now->deltas[layer + 1], TURNED, bar, ADDED);
        multiply(memory, back->deltas[layer + 1], 1, bar, PLAIN, now->turned[layer], ADDED);
    }
    matrix top = back->deltas[later], bar = top;
    scale_each(top, slope);
    for (int layer = later - 1; layer >= 0; layer--) {
        multiply(memory, back->weights[layer], 1, bar, TURNED, now->inputs[layer], ADDED);
        add(back->biases[layer], 1, sum_of_rows(memory, bar));
        multiply(memory, back->inputs[layer], 1, bar, PLAIN, now->weights[layer], ADDED);
        bar = back->inputs[layer];
        through_relu(bar, now->inputs[layer]);
    }
    bar = beside(memory, p, bar, top);
    add(back->outputs, 1, bar);
    if (gram) {
        multiply(memory, back->moved, -1, *gram, PLAIN, bar, ADDED);
        add(back->shift, -1, sum_of_rows(memory, bar));
        multiply(memory, back->gram, 1, bar, PLAIN, transpose(memory, now->moved), ADDED);
    }
}

/* ---- a task ---- */

/* The query loss, and its gradient by the scores in their place. */
static REAL judge(const problem *p, size_t first, matrix scores) {
    REAL loss = 0;
    for (int row = 0; row < scores.rows; row++)
        for (int head = 0; head < scores.columns; head++) {
            size_t place = (first + row) * scores.columns + head;
            REAL *score = scores.at + row * scores.stride + head, weight = p->query_weight[place];
            REAL error = p->query_observed[place] ? *score - p->query_rest[place] : 0;
            REAL sign = error > 0 ? 1 : error < 0 ? -1 : error; /* NaN stays */
            loss += weight * (p->absolute[head] ? sign * error : error * error);
            *score = weight * (p->absolute[head] ? sign : 2 * error);
        }
    return loss;
}

/* Back through the query; what the first layer gives on it has the returned slopes. */
static matrix judge_back(arena *memory, const problem *p, way_back *back, const step *last, const matrix *inputs,
                         matrix top) {
    matrix bar = top;
    for (int layer = (int)p->num_later - 1; layer >= 0; layer--) {
        back->weights[layer] = product(memory, 1, bar, TURNED, inputs[layer]);
        back->biases[layer] = sum_of_rows(memory, bar);
        bar = product(memory, 1, bar, PLAIN, last->weights[layer]);
        through_relu(bar, inputs[layer]);
    }
    return beside(memory, p, bar, top);
}

/* Add what a task has by the weights that all share to where it adds up; W_l and b_l take turns. */
static void share_weights(const problem *p, const way_back *back, REAL *to) {
    for (int layer = 0; layer < p->num_later; layer++) {
        matrix weight = back->weights[layer];
        for (int row = 0; row < weight.rows; row++, to += weight.columns)
            for (int column = 0; column < weight.columns; column++)
                to[column] += weight.at[row * weight.stride + column];
        for (int column = 0; column < weight.rows; column++) to[column] += back->biases[layer].at[column];
        to += weight.rows;
    }
}

static void do_task(arena *memory, const problem *p, int64_t task, const step *start, REAL *by_shared) {
    int later = (int)p->num_later, num_steps = (int)p->num_steps, num_rates = rates_of(p);
    int features = (int)p->num_features, width = (int)p->num_outputs, heads = (int)p->num_heads;
    int num_rows = (int)(p->starts[task + 1] - p->starts[task]), num_query = (int)p->num_query;
    size_t first = p->starts[task], first_query = (size_t)task * num_query;
    size_t query_row = p->starts[p->num_tasks] + first_query;
    const REAL *rest = p->support_rest + first * heads, *slope = p->slope + first * heads;

    matrix x = load(memory, p->inputs + first * features, num_rows, features);
    matrix query_x = load(memory, p->inputs + query_row * features, num_query, features);
    matrix outputs = load(memory, p->outputs + first * width, num_rows, width);
    matrix query_outputs = load(memory, p->outputs + query_row * width, num_query, width);
    add_to_rows(outputs, 1, p->constant_outputs + task * width);
    add_to_rows(query_outputs, 1, p->constant_outputs + task * width);
    matrix turned = transpose(memory, x), gram, cross = product(memory, 1, query_x, PLAIN, turned);
    add_number(cross, p->norm[task]);
    if (num_steps > 1) {
        gram = product(memory, 1, x, PLAIN, turned);
        add_number(gram, p->norm[task]);
    }

    step *path = take(memory, sizeof(step) * (num_steps + 1));
    path[0] = make_step(memory, later);
    path[0].weights = start->weights, path[0].turned = start->turned, path[0].biases = start->biases;
    path[0].moved = zeros(memory, num_rows, width), path[0].shift = zeros(memory, 1, width);
    for (int number = 0; number < num_steps; number++) {
        matrix given = copy(memory, outputs);
        if (number) {
            add_to_rows(given, -1, path[number].shift.at);
            multiply(memory, given, -1, gram, PLAIN, path[number].moved, ADDED);
        }
        take_gradient(memory, p, &path[number], given, rest, slope);
        path[number + 1] = move(memory, p, &path[number], p->shared + number * num_rates);
    }
    const step *last = &path[num_steps];
    add_to_rows(query_outputs, -1, last->shift.at);
    multiply(memory, query_outputs, -1, cross, PLAIN, last->moved, ADDED);
    matrix *query_inputs = take(memory, sizeof(matrix) * (later + 1));
    matrix bar = through_layers(memory, p, query_outputs, last, query_inputs);
    p->losses[task] = judge(p, first_query, bar);
    if (!p->wants_gradient) return;

    matrix *all = take(memory, sizeof(matrix) * (4 * later + 1));
    way_back back = {.weights = all, .biases = all + later, .inputs = all + 2 * later, .deltas = all + 3 * later};
    bar = judge_back(memory, p, &back, last, query_inputs, bar);
    back.moved = product(memory, -1, cross, TURNED, bar);
    back.shift = sum_of_rows(memory, bar);
    matrix by_constant = copy(memory, back.shift);
    scale(back.shift, -1);
    back.outputs = zeros(memory, num_rows, width);
    back.gram = zeros(memory, num_rows, num_rows);
    matrix by_cross = product(memory, -1, bar, PLAIN, transpose(memory, last->moved));
    for (int number = num_steps - 1; number >= 0; number--) {
        REAL *by_rates = by_shared + number * num_rates;
        through_moves(memory, p, &path[number], &back, p->shared + number * num_rates, by_rates);
        if (!p->first_order) through_gradient(memory, p, &path[number], &back, slope, number ? &gram : NULL);
    }
    share_weights(p, &back, by_shared + num_steps * num_rates);

    REAL by_norm = total(by_cross);
    matrix by_x = zeros(memory, num_rows, features);
    if (p->first_order) by_norm /= 2; /* of u · u, the support's u is a constant and the query's is not */
    else multiply(memory, by_x, 1, by_cross, TURNED, query_x, ADDED);
    if (num_steps > 1 && !p->first_order) {
        by_norm -= total(back.gram);
        multiply(memory, by_x, -1, back.gram, PLAIN, x, ADDED);
        multiply(memory, by_x, -1, back.gram, TURNED, x, ADDED);
    }
    add(by_constant, 1, sum_of_rows(memory, back.outputs));
    p->by_norm[task] = by_norm;
    store(p->by_constant_outputs + task * width, by_constant);
    store(p->by_inputs + first * features, by_x);
    store(p->by_outputs + first * width, back.outputs);
    store(p->by_inputs + query_row * features, product(memory, 1, by_cross, PLAIN, x));
    store(p->by_outputs + query_row * width, bar);
}

/* ---- all tasks ---- */

static void do_share(const problem *p, int thread, arena *memory) {
    step start = make_step(memory, (int)p->num_later);
    const REAL *from = p->shared + p->num_steps * rates_of(p);
    for (int layer = 0; layer < p->num_later; layer++) {
        int inputs = (int)p->widths[layer], outputs = (int)p->widths[layer + 1];
        start.weights[layer] = load(memory, from, outputs, inputs);
        start.turned[layer] = transpose(memory, start.weights[layer]);
        start.biases[layer] = load(memory, from + (size_t)outputs * inputs, 1, outputs);
        from += (size_t)outputs * (inputs + 1);
    }
    block *kept = memory->now;
    size_t used = kept->used;
    for (int64_t task = p->cuts[thread]; task < p->cuts[thread + 1]; task++) {
        memory->now = kept;
        kept->used = used;
        do_task(memory, p, task, &start, p->by_shared + thread * p->num_shared);
        int64_t bytes = 0;
        for (block *each = memory->first;; each = each->next) {
            bytes += (int64_t)each->used;
            if (each == memory->now) break;
        }
        if (bytes > p->bytes[thread]) p->bytes[thread] = bytes;
    }
    p->operations[thread] = memory->operations;
}

void sum_task_losses(const problem *p) {
    arena memories[p->num_threads];
    for (int thread = 0; thread < p->num_threads; thread++) { /* by the caller, whose heap keeps what is freed */
        block *room = new_block(BLOCK);
        memories[thread] = (arena){room, room, 0};
    }
#pragma omp parallel for num_threads((int)p->num_threads) schedule(static, 1)
    for (int thread = 0; thread < p->num_threads; thread++) do_share(p, thread, &memories[thread]);
    for (int thread = 0; thread < p->num_threads; thread++)
        for (block *next, *now = memories[thread].first; now; now = next) next = now->next, free(now);
}
