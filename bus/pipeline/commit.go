package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// commit makes all that is pending durable in one batch, then says so to the sources. It
// waits while a queue is full whose policy is Block, and tries again while the store cannot be
// written. It returns an error only with which the instance cannot go on.
func (in *instance) commit(ctx context.Context) error {
	ops := make([]meta.Op, 0, 8)
	var staged []Staged
	settle := func(committed bool) {
		for _, st := range staged {
			if st.Done != nil {
				st.Done(committed)
			}
		}
	}
	for _, d := range in.sinks {
		if len(d.pending) == 0 {
			continue
		}
		st, err := d.queue.Stage(ctx, d.pending)
		if err != nil {
			settle(false)
			return in.broken(ctx, d.name, err)
		}
		staged, ops = append(staged, st), append(ops, st.Ops...)
	}
	if len(in.pending.letters) > 0 {
		st, err := in.s.r.cfg.Queues.StageDead(ctx, in.s.ref, in.pending.letters)
		if err != nil {
			settle(false)
			return in.broken(ctx, "", err)
		}
		staged, ops = append(staged, st), append(ops, st.Ops...)
	}
	in.ops = in.s.r.store.changes(in.machine, in.ops)
	in.remember()
	if err := in.applyRetried(ctx, append(ops, in.ops...)); err != nil {
		settle(false)
		return in.broken(ctx, "", err)
	}
	settle(true)
	for _, safe := range in.pending.safe {
		safe()
	}
	for _, d := range in.sinks {
		clear(d.pending)
		d.pending = d.pending[:0]
	}
	in.pending = pending{ids: in.pending.ids[:0]}
	clear(in.ops)
	in.ops = in.ops[:0]
	in.publish()
	return nil
}

// broken makes the error of a commit: none if ctx has ended.
func (in *instance) broken(ctx context.Context, step string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	in.s.fail(step, v1alpha1.ReasonStoreFailed, err.Error(), nil)
	return err
}

// remember adds the ids of the events to in.ops.
func (in *instance) remember() {
	if len(in.pending.ids) == 0 {
		return
	}
	in.seq++
	slot := in.seq % ringSlots
	in.ring[slot] = append(in.ring[slot][:0], in.pending.ids...)
	slices.Sort(in.ring[slot])
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+8*len(in.pending.ids)), in.seq)
	for _, id := range in.pending.ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	in.ops = append(in.ops, meta.Op{Key: ringKey(in.s.ref, slot), Value: b})
}

// applyRetried applies ops until it succeeds or ctx ends, or until the store is closed or has
// failed for good.
func (in *instance) applyRetried(ctx context.Context, ops []meta.Op) error {
	for tries := 1; ; tries++ {
		err := in.s.r.store.apply(ctx, ops)
		switch {
		case err == nil:
			if tries > 1 {
				in.s.heal("", v1alpha1.ReasonStoreFailed)
			}
			return nil
		case ctx.Err() != nil || errors.Is(err, meta.ErrFailed) || errors.Is(err, meta.ErrTooLarge):
			return err
		}
		in.s.fail("", v1alpha1.ReasonStoreFailed, err.Error(), nil)
		t := in.clock.NewTimer(pause(tries))
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C():
		}
	}
}

// hashID is what is remembered of an event's id.
func hashID(source, id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(source))
	h.Write([]byte{0})
	h.Write([]byte(id))
	return h.Sum64()
}

// known reports whether an event was made durable before: before the restart, or lately if
// the source says that it sends it again.
func (in *instance) known(id uint64, e *Event) bool {
	if e.ID == "" {
		return false
	}
	if _, ok := in.ids[id]; ok {
		delete(in.ids, id) // once: another event may have the id again
		return true
	}
	if !e.Resend {
		return false
	}
	for _, ids := range in.ring {
		if _, ok := slices.BinarySearch(ids, id); ok {
			return true
		}
	}
	return slices.Contains(in.pending.ids, id)
}

// lastCommit is how long an instance that ends may take to make durable what it has.
const lastCommit = 5 * time.Second

// drain takes what sources have emitted until they have ended, and makes it durable if that
// takes a moment only. Otherwise they emit it again.
func (in *instance) drain(ctx context.Context, ended <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCommit)
	defer cancel()
	var failed error
	push := func(i input) {
		if failed == nil {
			failed = in.push(ctx, i)
		}
		if failed == nil {
			failed = ctx.Err() // what comes later must not be safe before the rest of i
		}
	}
	if in.rest != nil {
		push(*in.rest)
	}
	for done := false; !done; {
		select {
		case i := <-in.inputs:
			push(i)
		case <-ended:
			done = true
		}
	}
	for len(in.inputs) > 0 {
		push(<-in.inputs)
	}
	if failed == nil && in.pending.any {
		failed = in.commit(ctx)
	}
	if failed != nil {
		in.log.Error("the last events are emitted again by their sources", "err", failed)
	}
}
