//! The greatest numbers of a short list, with ties in the order of `torch.topk`.
//!
//! `torch.topk` on a CPU (`topk_impl_loop` in ATen's `TopKImpl.h`) is C++'s `std::partial_sort`, or
//! `std::nth_element` and then `std::sort`. None of them is stable, and beam search has many equal
//! numbers: each missing sequence scores -1e9. So this module follows the steps of libstdc++, with
//! which PyTorch is built.

/// Below this length libstdc++ sorts by insertion alone.
const INSERTION: usize = 16;

/// Leaves the indices of the `k` greatest of `values` in `order`, greatest first. None is NaN.
pub(crate) fn torch_topk(values: &[f32], k: usize, order: &mut Vec<usize>) {
    order.clear();
    order.extend(0..values.len());
    let k = k.min(values.len());
    if k == 0 {
        order.clear();
        return;
    }
    let mut sorter = Sorter { values, order };
    let end = values.len();
    if k * 64 <= end {
        sorter.partial_sort(0, k, end);
    } else {
        sorter.nth_element(k - 1, end);
        sorter.sort(k - 1);
    }
    order.truncate(k);
}

/// Sorts `order` by descending values. Ranges are half open, as in C++.
struct Sorter<'a> {
    values: &'a [f32],
    order: &'a mut [usize],
}

impl Sorter<'_> {
    fn is_greater(&self, left: usize, right: usize) -> bool {
        self.values[left] > self.values[right]
    }

    /// Whether the element at index `left` comes before the one at `right`.
    fn before(&self, left: usize, right: usize) -> bool {
        self.is_greater(self.order[left], self.order[right])
    }

    /// `std::nth_element` from index 0: libstdc++'s `__introselect`.
    fn nth_element(&mut self, nth: usize, mut last: usize) {
        if nth == last {
            return;
        }
        let mut first = 0;
        let mut depth = depth_limit(last);
        while last - first > 3 {
            if depth == 0 {
                self.heap_select(first, nth + 1, last);
                self.order.swap(first, nth);
                return;
            }
            depth -= 1;
            let cut = self.partition_around_median(first, last);
            if cut <= nth {
                first = cut;
            } else {
                last = cut;
            }
        }
        self.insertion_sort(first, last);
    }

    /// `std::sort` of the elements before `last`.
    fn sort(&mut self, last: usize) {
        if last == 0 {
            return;
        }
        self.introsort(0, last, depth_limit(last));
        self.insertion_sort(0, last.min(INSERTION));
        (INSERTION..last).for_each(|place| self.insert(place));
    }

    fn introsort(&mut self, first: usize, mut last: usize, mut depth: u32) {
        while last - first > INSERTION {
            if depth == 0 {
                self.partial_sort(first, last, last);
                return;
            }
            depth -= 1;
            let cut = self.partition_around_median(first, last);
            self.introsort(cut, last, depth);
            last = cut;
        }
    }

    /// `__unguarded_partition_pivot`.
    fn partition_around_median(&mut self, first: usize, last: usize) -> usize {
        let (a, b, c) = (first + 1, first + (last - first) / 2, last - 1);
        let median = if self.before(a, b) {
            if self.before(b, c) {
                b
            } else if self.before(a, c) {
                c
            } else {
                a
            }
        } else if self.before(a, c) {
            a
        } else if self.before(b, c) {
            c
        } else {
            b
        };
        self.order.swap(first, median);
        let (mut left, mut right) = (first + 1, last);
        loop {
            while self.before(left, first) {
                left += 1;
            }
            right -= 1;
            while self.before(first, right) {
                right -= 1;
            }
            if left >= right {
                return left;
            }
            self.order.swap(left, right);
            left += 1;
        }
    }

    /// `__insertion_sort`.
    fn insertion_sort(&mut self, first: usize, last: usize) {
        for place in first + 1..last {
            if self.before(place, first) {
                self.order[first..=place].rotate_right(1);
            } else {
                self.insert(place);
            }
        }
    }

    /// `__unguarded_linear_insert`: an element before it is not less.
    fn insert(&mut self, mut place: usize) {
        while self.before(place, place - 1) {
            self.order.swap(place, place - 1);
            place -= 1;
        }
    }

    /// `std::partial_sort`.
    fn partial_sort(&mut self, first: usize, middle: usize, last: usize) {
        self.heap_select(first, middle, last);
        for end in (first + 1..middle).rev() {
            self.pop_heap(first, end, end);
        }
    }

    /// `__heap_select`: leaves the greatest elements in a heap before `middle`, with the smallest
    /// of them at its top.
    fn heap_select(&mut self, first: usize, middle: usize, last: usize) {
        let length = middle - first;
        for parent in (0..length / 2).rev() {
            self.sift(first, parent, length, self.order[first + parent]);
        }
        for place in middle..last {
            if self.before(place, first) {
                self.pop_heap(first, middle, place);
            }
        }
    }

    /// `__pop_heap`: moves the top to `place`, and the element from there into the heap.
    fn pop_heap(&mut self, first: usize, last: usize, place: usize) {
        let element = self.order[place];
        self.order[place] = self.order[first];
        self.sift(first, 0, last - first, element);
    }

    /// `__adjust_heap`: moves the hole down to a leaf, and then up to where the element belongs.
    fn sift(&mut self, first: usize, mut hole: usize, length: usize, element: usize) {
        let top = hole;
        let mut child = hole;
        while length > 0 && child < (length - 1) / 2 {
            child = 2 * (child + 1);
            if self.before(first + child, first + child - 1) {
                child -= 1;
            }
            self.order[first + hole] = self.order[first + child];
            hole = child;
        }
        if length.is_multiple_of(2) && 2 * child + 2 == length {
            child = 2 * child + 1;
            self.order[first + hole] = self.order[first + child];
            hole = child;
        }
        while hole > top && self.is_greater(self.order[first + (hole - 1) / 2], element) {
            self.order[first + hole] = self.order[first + (hole - 1) / 2];
            hole = (hole - 1) / 2;
        }
        self.order[first + hole] = element;
    }
}

/// Maximum depth of partitions in libstdc++: twice the rounded logarithm to base 2.
fn depth_limit(length: usize) -> u32 {
    2 * length.ilog2()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    #[test]
    fn ties_are_in_the_order_of_torch() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/goldens/torch_topk.jsonl");
        let text = std::fs::read_to_string(path).expect("the goldens are in the repository");
        let mut order = Vec::new();
        let mut compared = 0;
        for line in text.lines().skip(1) {
            let line: Value = serde_json::from_str(line).expect("a line is JSON");
            let values: Vec<Option<f32>> =
                serde_json::from_value(line["values"].clone()).expect("numbers");
            let values: Vec<f32> =
                values.into_iter().map(|value| value.unwrap_or(f32::NEG_INFINITY)).collect();
            let expected: Vec<usize> =
                serde_json::from_value(line["indices"].clone()).expect("indices");
            torch_topk(&values, expected.len(), &mut order);
            assert_eq!(order, expected, "{values:?}");
            compared += 1;
        }
        assert!(compared >= 400, "only {compared} goldens");
    }

    #[test]
    fn as_many_as_there_are() {
        let mut order = vec![9];
        torch_topk(&[], 3, &mut order);
        assert!(order.is_empty());
        torch_topk(&[1.0, 2.0], 0, &mut order);
        assert!(order.is_empty());
        torch_topk(&[1.0, 2.0], 5, &mut order);
        assert_eq!(order, [1, 0]);
    }
}
