# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, nonecheck=False
"""Walks over compressed matrices that execute non-zero products only, and products of packed bits; checked in Python.

A walk takes the stored weights one by one, as their format is read, and multiplies each with the activations of its row.
`tally`, in this order: executed, skipped for a zero activation, executed on stored zeros, indices read, pointers read,
values of weights read, activations read.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

__all__ = ["binary", "has_popcnt", "ternary", "walk_bitmask", "walk_codebook", "walk_compressed", "walk_gathered", "walk_rlc",
           "walk_two_four"]

cdef extern from "_sparse.h" nogil:
    int bits_native()
    int bits_lowest(uint64_t x)
    int64_t bits_xor_portable(const uint64_t *a, const uint64_t *b, int64_t words)
    int64_t bits_xor_popcnt(const uint64_t *a, const uint64_t *b, int64_t words)
    void bits_masked_portable(const uint64_t *a, const uint64_t *an, const uint64_t *b, const uint64_t *bn, int64_t words,
                              int64_t *sums)
    void bits_masked_popcnt(const uint64_t *a, const uint64_t *an, const uint64_t *b, const uint64_t *bn, int64_t words,
                            int64_t *sums)



cdef inline void visit(const int32_t[:, ::1] a, int32_t[:, ::1] out, Py_ssize_t k, Py_ssize_t n, int32_t value, bint skip,
                       int64_t[::1] tally) noexcept nogil:
    """One stored weight meets the activations of its row."""
    cdef Py_ssize_t m
    cdef int64_t live = 0, count = a.shape[1]
    for m in range(count):
        if a[k, m] or not skip:
            out[n, m] += a[k, m] * value
            live += 1
    if value:
        tally[0] += live
        tally[1] += count - live
    else:
        tally[2] += live
    tally[5] += 1
    tally[6] += count


def has_popcnt():
    return bool(bits_native())


def walk_compressed(const int32_t[:, ::1] a, int32_t[:, ::1] out, const int32_t[::1] values, const int64_t[::1] indices,
                    const int64_t[::1] pointers, bint by_rows, bint relative, bint skip, int64_t[::1] tally):
    """CSR or CSC; a relative index is the run of zeros before the value."""
    cdef Py_ssize_t line, e, place
    with nogil:
        for line in range(pointers.shape[0] - 1):
            place = -1
            tally[4] += 2
            for e in range(pointers[line], pointers[line + 1]):
                place = place + 1 + indices[e] if relative else indices[e]
                tally[3] += 1
                if by_rows:
                    visit(a, out, line, place, values[e], skip, tally)
                else:
                    visit(a, out, place, line, values[e], skip, tally)


def walk_gathered(const int32_t[::1] a_values, const int64_t[::1] a_rows, const int64_t[::1] a_columns, int32_t[:, ::1] out,
                  const int32_t[::1] values, const int64_t[::1] indices, const int64_t[::1] pointers, bint relative,
                  int64_t[::1] tally):
    """Non-zero activations one by one, each with the stored weights of its row: both sides skipped (out is M x N)."""
    cdef Py_ssize_t i, e, k, place
    with nogil:
        for i in range(a_values.shape[0]):
            k = a_columns[i]
            place = -1
            tally[4] += 2
            tally[6] += 1
            for e in range(pointers[k], pointers[k + 1]):
                place = place + 1 + indices[e] if relative else indices[e]
                out[a_rows[i], place] += a_values[i] * values[e]
                tally[3] += 1
                tally[5] += 1
                if values[e] and a_values[i]:
                    tally[0] += 1
                else:
                    tally[2] += 1


def walk_bitmask(const int32_t[:, ::1] a, int32_t[:, ::1] out, const int32_t[::1] values, const uint64_t[:, ::1] mask, bint skip,
                 int64_t[::1] tally):
    """Rows of a mask, a word a time; values follow in the order of set bits."""
    cdef Py_ssize_t k, word, e = 0
    cdef uint64_t bits
    with nogil:
        for k in range(mask.shape[0]):
            for word in range(mask.shape[1]):
                bits = mask[k, word]
                tally[3] += 1
                while bits:
                    visit(a, out, k, 64 * word + bits_lowest(bits), values[e], skip, tally)
                    bits &= bits - 1
                    e += 1


def walk_rlc(const int32_t[:, ::1] a, int32_t[:, ::1] out, const int32_t[::1] values, const int64_t[::1] runs, bint skip,
             int64_t[::1] tally):
    """One stream over the whole matrix, row after row: a run of zeros, then a value."""
    cdef Py_ssize_t e
    cdef int64_t place = -1
    with nogil:
        for e in range(values.shape[0]):
            place += runs[e] + 1
            tally[3] += 1
            visit(a, out, place // out.shape[0], place % out.shape[0], values[e], skip, tally)


def walk_two_four(const int32_t[:, ::1] a, int32_t[:, ::1] out, const int32_t[:, :, ::1] values, const uint8_t[:, :, ::1] places,
                  bint skip, int64_t[::1] tally):
    """Two values of every four of a column, each with its place: [group, slot, column]."""
    cdef Py_ssize_t group, slot, n
    with nogil:
        for group in range(values.shape[0]):
            for slot in range(2):
                for n in range(values.shape[2]):
                    tally[3] += 1
                    visit(a, out, 4 * group + places[group, slot, n], n, values[group, slot, n], skip, tally)


def walk_codebook(const int32_t[:, ::1] a, int32_t[:, ::1] out, const uint8_t[:, ::1] indices, const int32_t[::1] table, bint skip,
                  int64_t[::1] tally):
    """A dense matrix of indices of shared values; the value zero is skipped."""
    cdef Py_ssize_t k, n
    with nogil:
        for k in range(indices.shape[0]):
            for n in range(indices.shape[1]):
                tally[3] += 1
                if table[indices[k, n]]:
                    visit(a, out, k, n, table[indices[k, n]], skip, tally)


def binary(const uint64_t[:, ::1] a, const uint64_t[:, ::1] b, int64_t length, int32_t[:, ::1] out, bint native):
    """Products of -1 and 1: bits that agree less bits that differ."""
    cdef Py_ssize_t m, n
    cdef int64_t differ
    if a.shape[1] == 0:
        return
    with nogil:
        for m in range(out.shape[0]):
            for n in range(out.shape[1]):
                if native:
                    differ = bits_xor_popcnt(&a[m, 0], &b[n, 0], a.shape[1])
                else:
                    differ = bits_xor_portable(&a[m, 0], &b[n, 0], a.shape[1])
                out[m, n] = <int32_t>(length - 2 * differ)


def ternary(const uint64_t[:, :, ::1] a, const uint64_t[:, :, ::1] b, int32_t[:, ::1] out, bint native, int64_t[::1] tally):
    """Products of -1, 0 and 1, whose planes say what is not zero and what is negative; tally: executed, b zero, a zero."""
    cdef Py_ssize_t m, n
    cdef int64_t sums[4]
    if a.shape[2] == 0:
        return
    with nogil:
        for m in range(out.shape[0]):
            for n in range(out.shape[1]):
                if native:
                    bits_masked_popcnt(&a[0, m, 0], &a[1, m, 0], &b[0, n, 0], &b[1, n, 0], a.shape[2], sums)
                else:
                    bits_masked_portable(&a[0, m, 0], &a[1, m, 0], &b[0, n, 0], &b[1, n, 0], a.shape[2], sums)
                out[m, n] = <int32_t>(sums[0] - 2 * sums[1])
                tally[0] += sums[0]
                tally[1] += sums[2]
                tally[2] += sums[3]
