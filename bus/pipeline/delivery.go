package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// defaultRetry is how long an event is tried if the spec does not say.
const defaultRetry = 24 * time.Hour

// delivery sends the events of a queue to a sink.
type delivery struct {
	in    *instance
	name  string
	spec  *v1alpha1.Sink
	sink  Sink
	queue Queue

	pending []Event // for the queue; of the loop's goroutine

	sent, retries, dead atomic.Int64
}

// run sends batches until ctx ends.
func (d *delivery) run(ctx context.Context) {
	for tries := 1; ctx.Err() == nil; {
		b, err := d.queue.Take(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			d.in.s.fail(d.name, v1alpha1.ReasonStoreFailed, err.Error(), nil)
			d.wait(ctx, pause(tries))
			tries++
			continue
		}
		if tries > 1 {
			d.in.s.heal(d.name, v1alpha1.ReasonStoreFailed)
		}
		tries = 1
		d.deliver(ctx, b)
	}
}

func (d *delivery) wait(ctx context.Context, pause time.Duration) {
	t := d.in.clock.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C():
	}
}

// deliver sends a batch until all of it is sent or dead, or ctx ends.
func (d *delivery) deliver(ctx context.Context, b Batch) {
	until := b.Since.Add(defaultRetry)
	if r := d.spec.Retry; r != nil && r.For != nil && r.For.Duration > 0 {
		until = b.Since.Add(r.For.Duration)
	}
	var letters []DeadLetter
	rest := b.Events
	for tries := 1; len(rest) > 0; tries++ {
		n, refused, err := d.send(ctx, rest)
		letters = append(letters, refused...)
		rest = rest[n:]
		if err == nil {
			d.in.s.heal(d.name, v1alpha1.ReasonSinkRetrying)
			break
		}
		if ctx.Err() != nil {
			return // the queue gives all of it again, with the same ids
		}
		d.retries.Add(1)
		d.in.s.fail(d.name, v1alpha1.ReasonSinkRetrying, err.Error(), &rest[0])
		if n > 0 {
			tries = 1
		}
		if now := d.in.clock.Now(); !now.Before(until) {
			for _, e := range rest {
				letters = append(letters, d.letter(v1alpha1.ReasonExpired, err, e))
			}
			break
		}
		d.wait(ctx, min(pause(tries), max(firstPause, until.Sub(d.in.clock.Now()))))
		if ctx.Err() != nil {
			return
		}
	}
	d.sent.Add(int64(len(b.Events) - len(letters)))
	d.remove(ctx, b, letters)
}

func (d *delivery) letter(reason string, err error, e Event) DeadLetter {
	d.dead.Add(1)
	d.in.s.fail(d.name, reason, err.Error(), &e)
	return DeadLetter{Step: d.name, Reason: reason, Message: err.Error(), Time: d.in.clock.Now(), Event: e}
}

// send sends events. It returns how many are done with, sent or refused, and the error of the
// next, with which they must be sent again. A batch that is refused as a whole is halved
// until the events are found that are.
func (d *delivery) send(ctx context.Context, events []Event) (done int, letters []DeadLetter, err error) {
	for done < len(events) {
		err := d.sendSafely(ctx, events[done:])
		if sent, ok := errors.AsType[*SentError](err); ok && sent.Sent > 0 && sent.Sent < len(events)-done {
			done += sent.Sent
			if !errors.Is(err, ErrRefused) {
				return done, letters, err
			}
			continue // with those that are refused
		}
		var refused *RefusedError
		switch {
		case err == nil:
			return len(events), letters, nil
		case errors.As(err, &refused) && refused.Index >= 0 && refused.Index < len(events)-done:
			i := done + refused.Index
			letters = append(letters, d.letter(v1alpha1.ReasonRefused, refused.Err, events[i]))
			done = i + 1
		case errors.Is(err, ErrRefused) && len(events)-done == 1:
			letters = append(letters, d.letter(v1alpha1.ReasonRefused, err, events[done]))
			done++
		case errors.Is(err, ErrRefused):
			half := done + (len(events)-done)/2
			n, more, err := d.send(ctx, events[done:half])
			letters, done = append(letters, more...), done+n
			if err != nil {
				return done, letters, err
			}
		default:
			return done, letters, err
		}
	}
	return done, letters, nil
}

// sendSafely calls the sink. A panic is an error to try again: what it is about cannot be
// known.
func (d *delivery) sendSafely(ctx context.Context, events []Event) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return d.sink.Send(ctx, events)
}

// remove removes a batch from the queue and stores its dead letters, again until it succeeds.
func (d *delivery) remove(ctx context.Context, b Batch, letters []DeadLetter) {
	for tries := 1; ctx.Err() == nil; tries++ {
		err := d.removeOnce(ctx, b, letters)
		if err == nil && tries > 1 {
			d.in.s.heal(d.name, v1alpha1.ReasonStoreFailed)
		}
		if err == nil || errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		d.in.s.fail(d.name, v1alpha1.ReasonStoreFailed, err.Error(), nil)
		d.wait(ctx, pause(tries))
	}
}

func (d *delivery) removeOnce(ctx context.Context, b Batch, letters []DeadLetter) error {
	var ops []meta.Op
	var done func(bool)
	if len(letters) > 0 {
		st, err := d.in.s.r.cfg.Queues.StageDead(ctx, d.in.s.ref, letters)
		if err != nil {
			return err
		}
		ops, done = st.Ops, st.Done
	}
	err := d.queue.Remove(ctx, b, ops...)
	if done != nil {
		done(err == nil)
	}
	return err
}
