package nodelifecycle

import (
	"container/heap"
	"hash/fnv"
	"time"
)

// spread is a time within RenewEvery that depends on the node's name, so that
// the work on many nodes is spread.
func spread(name string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name))
	return time.Duration(h.Sum32()) % RenewEvery
}

// queue holds the nodes that wait until they are due, the next one at its head. A node that is
// being handled is not in it. It is a heap, so checking for due nodes is cheap for any number
// of nodes.
type queue []*node

// Len, Less, Swap, Push and Pop make it a heap.Interface.
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	n := x.(*node)
	n.index = len(*q)
	*q = append(*q, n)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	n := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	n.index = -1
	return n
}

// set has a node due at a time, whether it waits already or not.
func (q *queue) set(n *node, at time.Time) {
	n.due = at
	if n.index >= 0 {
		heap.Fix(q, n.index)
		return
	}
	heap.Push(q, n)
}

// remove takes a node out, if it waits.
func (q *queue) remove(n *node) {
	if n.index >= 0 {
		heap.Remove(q, n.index)
	}
}

// popDue removes the nodes that are due and returns them.
func (q *queue) popDue(now time.Time) []*node {
	var due []*node
	for len(*q) > 0 && !(*q)[0].due.After(now) {
		due = append(due, heap.Pop(q).(*node))
	}
	return due
}
