package load_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/hub/internal/load"
)

func fill(t *testing.T, q *load.Backlog[string], conns ...string) {
	t.Helper()
	for _, c := range conns {
		if !q.Reserve() || !q.Put(c) {
			t.Fatalf("no place for %s", c)
		}
	}
}

func TestOrder(t *testing.T) {
	q := load.NewBacklog[string](3)
	fill(t, q, "a", "b", "c")
	if q.Reserve() {
		t.Error("a fourth place of three")
	}
	for _, want := range []string{"a", "b", "c"} {
		if got, err := q.Accept(t.Context()); got != want || err != nil {
			t.Errorf("%q, %v instead of %q", got, err, want)
		}
	}
}

// TestDead: a connection that ends frees its place, wherever it is in the backlog.
func TestDead(t *testing.T) {
	q := load.NewBacklog[string](3)
	fill(t, q, "a", "b", "c")
	q.Drop("a")
	q.Drop("b")
	q.Drop("b")
	q.Drop("stranger")
	fill(t, q, "d", "e")
	if q.Reserve() {
		t.Error("a fourth place of three")
	}
	for _, want := range []string{"c", "d", "e"} {
		if got, err := q.Accept(t.Context()); got != want || err != nil {
			t.Errorf("%q, %v instead of %q", got, err, want)
		}
	}
	free := 0
	for q.Reserve() {
		free++
	}
	if free != 3 {
		t.Errorf("%d places are free of 3", free)
	}
	q.Free()
	fill(t, q, "f")
}

// TestManyAccept: as many Accepts return as there are connections.
func TestManyAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := load.NewBacklog[string](8)
		got := make(chan string, 8)
		ctx, cancel := context.WithCancel(t.Context())
		for range 8 {
			go func() {
				c, err := q.Accept(ctx)
				if err != nil {
					c = err.Error()
				}
				got <- c
			}()
		}
		synctest.Wait()
		fill(t, q, "a", "b", "c")
		synctest.Wait()
		if len(got) != 3 {
			t.Errorf("%d accepts returned, 3 connections came", len(got))
		}
		cancel()
		synctest.Wait()
		if len(got) != 8 {
			t.Errorf("%d of 8 accepts have returned", len(got))
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, broken := load.NewBacklog[string](2), errors.New("broken")
		failed := make(chan error, 1)
		go func() {
			_, err := q.Accept(t.Context())
			failed <- err
		}()
		synctest.Wait()
		if !q.Reserve() || q.Close(broken) != nil || !q.Closed() {
			t.Error("an empty queue had somebody in it, or did not close")
		}
		if err := <-failed; !errors.Is(err, broken) {
			t.Errorf("Accept gives %v", err)
		}
		if q.Put("late") || q.Close(nil) != nil {
			t.Error("a closed queue took a connection")
		}
		q = load.NewBacklog[string](2)
		fill(t, q, "a", "b")
		if left := q.Close(nil); !slices.Equal(left, []string{"a", "b"}) {
			t.Errorf("left are %q", left)
		}
		if _, err := q.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept gives %v", err)
		}
	})
}
