/* The contract `teraslice:asset` for operations in C, without a standard library.
 *
 * An asset includes this file once, defines `ts_info`, `ts_open` and `ts_process`, and is built with `teraslice assets build`.
 * What follows the declarations is the canonical ABI of the component model, which an author need not read.
 */
#ifndef TERASLICE_H
#define TERASLICE_H

/* Steps of one chain at the most. */
#define TS_STEPS_MAX 16

struct ts_text { const unsigned char *at; unsigned len; };
#define TS_TEXT(literal) { (const unsigned char *)(literal), sizeof(literal) - 1 }

/* What the operation says of itself. */
struct ts_info { struct ts_text name, description, schema; };
extern const struct ts_info ts_info;

enum ts_verdict {
    TS_KEEP,    /* the record goes on as it is */
    TS_DROP,    /* it is left out */
    TS_REPLACE, /* what was written to `out` goes on in its place */
    TS_REJECT,  /* it becomes a dead letter: see ts_reject */
};
struct ts_out { unsigned char *begin; unsigned len; const char *reason; };

/* Takes the settings of a step, as JSON; returns what is wrong with them, or 0. */
const char *ts_open(unsigned step, struct ts_text config);
/* Looks at one record. */
enum ts_verdict ts_process(unsigned step, struct ts_text record, struct ts_out *out);

/* ---- what operations may call ---- */

static inline void *ts_alloc(unsigned len);

/* Appends bytes to the record that replaces this one. */
static inline void ts_write(struct ts_out *out, const void *bytes, unsigned len) {
    unsigned char *to = ts_alloc(len);
    if (out->len == 0) out->begin = to;
    __builtin_memcpy(to, bytes, len);
    out->len += len;
}

/* Refuses the record. */
static inline enum ts_verdict ts_reject(struct ts_out *out, const char *reason) {
    out->reason = reason;
    return TS_REJECT;
}

static inline unsigned ts_len(const char *text) { unsigned len = 0; while (text[len]) len++; return len; }

/* Reads a whole number from settings such as {"min":5}. */
static inline int ts_number(struct ts_text json, const char *key, unsigned *value) {
    unsigned len = ts_len(key);
    for (unsigned at = 1; at + len + 2 < json.len; at++) {
        if (json.at[at - 1] != '"' || json.at[at + len] != '"') continue;
        unsigned same = 0;
        while (same < len && json.at[at + same] == (unsigned char)key[same]) same++;
        if (same < len) continue;
        unsigned digit = at + len + 1, sum = 0, digits = 0;
        while (digit < json.len && (json.at[digit] == ':' || json.at[digit] == ' ')) digit++;
        for (; digit < json.len && json.at[digit] >= '0' && json.at[digit] <= '9'; digit++, digits++)
            sum = sum * 10 + (json.at[digit] - '0');
        *value = sum;
        return digits > 0;
    }
    return 0;
}

/* ---- memory: an arena that is emptied after each call; what `open` was given stays ---- */

extern unsigned char __heap_base;
static unsigned ts_base, ts_top;

static void ts_fit(unsigned end) {
    unsigned pages = __builtin_wasm_memory_size(0);
    if (end > pages * 65536 && __builtin_wasm_memory_grow(0, (end - pages * 65536 + 65535) / 65536) == (unsigned)-1)
        __builtin_trap();
}

static void *ts_aligned(unsigned len, unsigned align) {
    if (!ts_top) ts_base = ts_top = (unsigned)&__heap_base;
    unsigned at = (ts_top + align - 1) & -align;
    if (at + len < at) __builtin_trap();
    ts_fit(at + len);
    ts_top = at + len;
    return (void *)at;
}

static inline void *ts_alloc(unsigned len) { return ts_aligned(len, 1); }

__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, unsigned old_len, unsigned align, unsigned len) {
    void *at = ts_aligned(len, align);
    if (old_len) __builtin_memcpy(at, old, old_len < len ? old_len : len);
    return at;
}

/* ---- the types of the contract, as they lie in memory ---- */

struct ts_option { unsigned is_some; struct ts_text text; };
struct ts_batch { struct ts_text data; struct ts_option metadata; };
struct ts_step { struct ts_text operation, config; };
struct ts_operation { struct ts_text name, description, schema; unsigned scope; struct ts_text capabilities; };
struct ts_failure { unsigned has_index, index, step; struct ts_text message; struct ts_option data; };
struct ts_count { unsigned long long received, emitted, dropped, failed, created; };
struct ts_output {
    unsigned is_error;
    struct ts_batch batch;
    struct ts_text origin, failed, counts;
};
struct ts_problem { unsigned is_error, kind, step; struct ts_text field, message; };

static unsigned ts_steps;
static struct ts_count ts_counts[TS_STEPS_MAX];
static const unsigned ts_empty[2];

__attribute__((export_name("describe")))
const void *ts_describe(void) {
    static struct ts_operation operation;
    static struct ts_text list;
    operation.name = ts_info.name, operation.description = ts_info.description, operation.schema = ts_info.schema;
    list.at = (const unsigned char *)&operation, list.len = 1;
    return &list;
}

__attribute__((export_name("open")))
const void *ts_open_chain(const struct ts_step *steps, unsigned count) {
    static struct ts_problem result;
    const char *wrong = count > TS_STEPS_MAX ? "too many steps of this operation in a row" : 0;
    for (unsigned step = 0; !wrong && step < count; step++) {
        wrong = ts_open(step, steps[step].config);
        result.step = step;
    }
    if (wrong) result.is_error = 1, result.message.at = (const unsigned char *)wrong, result.message.len = ts_len(wrong);
    ts_steps = count;
    ts_base = ts_top;
    return &result;
}

/* One record through all steps. Returns whether it goes on; counts as it goes. */
static int ts_chain(struct ts_text *record, unsigned index, struct ts_failure *failures, unsigned *failed) {
    for (unsigned step = 0; step < ts_steps; step++) {
        struct ts_count *count = &ts_counts[step];
        struct ts_out out = {0, 0, ""};
        count->received++;
        switch (ts_process(step, *record, &out)) {
        case TS_DROP: count->dropped++; return 0;
        case TS_REJECT: {
            struct ts_failure *failure = &failures[(*failed)++];
            failure->has_index = 1, failure->index = index, failure->step = step;
            failure->message.at = (const unsigned char *)out.reason, failure->message.len = ts_len(out.reason);
            failure->data.is_some = step > 0, failure->data.text = *record;
            count->failed++;
            return 0;
        }
        case TS_REPLACE: record->at = out.begin, record->len = out.len; break;
        case TS_KEEP: break;
        }
        count->emitted++;
    }
    return 1;
}

/* Writes items as a frame: their number, where each ends, their bytes. */
static struct ts_text ts_frame(const struct ts_text *items, unsigned count) {
    unsigned bytes = 0, at = 0;
    for (unsigned n = 0; n < count; n++) bytes += items[n].len;
    unsigned *head = ts_aligned(4 * (count + 2) + bytes, 4);
    unsigned char *payload = (unsigned char *)(head + count + 2);
    head[0] = count, head[1] = 0;
    for (unsigned n = 0; n < count; n++) {
        __builtin_memcpy(payload + at, items[n].at, items[n].len);
        head[n + 2] = at += items[n].len;
    }
    return (struct ts_text){(unsigned char *)head, 4 * (count + 2) + bytes};
}

static struct ts_text ts_item(struct ts_text frame, unsigned n) {
    const unsigned *head = (const unsigned *)frame.at;
    const unsigned char *payload = frame.at + 4 * (head[0] + 2);
    return (struct ts_text){payload + head[n + 1], head[n + 2] - head[n + 1]};
}

static const void *ts_result(struct ts_output *output) {
    output->counts.at = (const unsigned char *)ts_counts, output->counts.len = ts_steps;
    return output;
}

__attribute__((export_name("process")))
const void *ts_process_batch(const unsigned char *at, unsigned len, unsigned has_metadata, const unsigned char *meta_at,
                             unsigned meta_len) {
    static struct ts_output output;
    struct ts_text data = {at, len}, metadata = {meta_at, meta_len};
    unsigned count = *(const unsigned *)at, kept = 0, failed = 0;
    struct ts_text *records = ts_aligned(sizeof *records * count, 4), *about = ts_aligned(sizeof *about * count, 4);
    struct ts_failure *failures = ts_aligned(sizeof *failures * count, 4);
    unsigned *origin = ts_aligned(4 * count, 4);
    __builtin_memset(ts_counts, 0, sizeof ts_counts);
    for (unsigned n = 0; n < count; n++) {
        struct ts_text record = ts_item(data, n);
        /* One line feed behind a record is not part of it. */
        if (record.len && record.at[record.len - 1] == '\n') record.len--;
        if (!ts_chain(&record, n, failures, &failed)) continue;
        records[kept] = record;
        if (has_metadata) about[kept] = ts_item(metadata, n);
        origin[kept++] = n;
    }
    output.batch.data = ts_frame(records, kept);
    output.batch.metadata.is_some = has_metadata;
    if (has_metadata) output.batch.metadata.text = ts_frame(about, kept);
    output.origin.at = (unsigned char *)origin, output.origin.len = kept;
    output.failed.at = (unsigned char *)failures, output.failed.len = failed;
    return ts_result(&output);
}

__attribute__((export_name("cabi_post_process")))
void ts_processed(const void *result) { (void)result, ts_top = ts_base; }

__attribute__((export_name("finish")))
const void *ts_finish(void) {
    static struct ts_output output;
    __builtin_memset(ts_counts, 0, sizeof ts_counts);
    output.batch.data.at = (const unsigned char *)ts_empty, output.batch.data.len = sizeof ts_empty;
    return ts_result(&output);
}

#endif
