"""Text that every C file has: what it is, how to use it, what it asks of a compiler."""

HEADER = """\
/*
 * A spiking network, one step at a time. Written by sltdeploy; C99, nothing to link with.
 *
{about}
 *
 * Use:
 *
 *     static {prefix}_state state;          (one for each copy of the network; no malloc)
 *     {prefix}_init(&state);
 *     for (;;) {{ ... {prefix}_step(&state, inputs, outputs); ... }}
 *     {prefix}_reset(&state);               (back to the first state)
 *
 * After a step state.sent_<population> holds what left that population. A state is one block of
 * memory without pointers: a copy of it goes on from there.
 */
#ifndef {guard}
#define {guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

typedef struct {prefix}_state {{
{members}}} {prefix}_state;

/* Go to the first state: before the first step, and whenever a new sequence begins. */
void {prefix}_init({prefix}_state *s);
void {prefix}_reset({prefix}_state *s);

/* One time step; arrays are flat, in C order. */
void {prefix}_step(
    {arguments});

#ifdef __cplusplus
}}
#endif

#endif
"""

# Without these a compiler may change the numbers.
GUARDS = """\
/* Spikes depend on rounding: each product and each sum is rounded to its own type. */
#if defined(__FAST_MATH__)
#error "-ffast-math changes the results: compile this file without it"
#endif
#if defined(__FLT_EVAL_METHOD__) && __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
#error "float is computed in a wider type here: on 32-bit x86 add -msse2 -mfpmath=sse"
#endif
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#elif !defined(__STRICT_ANSI__) /* GCC fuses a * b + c but for -std=c99; it has no such pragma */
#pragma GCC optimize("fp-contract=off")
#endif

/* A kernel stays a function of its own: inlined into the step it would run out of registers. */
#if defined(__GNUC__)
#define APART __attribute__((noinline))
#else
#define APART
#endif
"""

FILE = """\
/*
 * A spiking network; see {prefix}.h. Written by sltdeploy.
 *
 * Compile as C99. Add -ffp-contract=off where the compiler knows it; -O3 lets it vectorise.
 *
 * What arrives at a neuron is added up in x_<population>: in integers where that is exact,
 * in double elsewhere, and rounded to float once. Work follows the spikes: what is silent costs
 * nothing behind it, but in a convolution by rows.
 */
#include "{prefix}.h"

#include <stddef.h>
#include <string.h>

{guards}
{tables}
{functions}
void {prefix}_reset({prefix}_state *s)
{{
{reset}}}

void {prefix}_init({prefix}_state *s)
{{
    {prefix}_reset(s);
}}

void {prefix}_step(
    {arguments})
{{
{count}{body}}}
{layout}"""

TABLES = """
#ifdef NETWORK_TABLES
/* For programs that load this file without having compiled against its header. */
extern const size_t {prefix}_state_size, {prefix}_inputs, {prefix}_outputs, {prefix}_members;
extern const size_t {prefix}_sizes[], {prefix}_offsets[];
const size_t {prefix}_state_size = sizeof({prefix}_state);
const size_t {prefix}_inputs = {inputs}u;
const size_t {prefix}_outputs = {outputs}u;
const size_t {prefix}_members = {members}u;
const size_t {prefix}_sizes[] = {{{sizes}}};
const size_t {prefix}_offsets[] = {{
    {offsets}
}};

/* Step samples one after the other: for each {wide} pointers, state, inputs, outputs; then NULL. */
void {prefix}_step_all(void *const *p);
void {prefix}_step_all(void *const *p)
{{
    for (; p[0] != NULL; p += {wide}) {{
        {prefix}_step({pointers});
    }}
}}
#endif
"""
