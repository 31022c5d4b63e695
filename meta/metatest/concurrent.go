package metatest

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/meta"
)

// testRacingConditions counts with compare and set from several goroutines:
// not one increment may be lost.
func testRacingConditions(t *testing.T, s meta.Store) {
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				for !increment(t, s, "local/n") {
				}
			}
		})
	}
	wg.Wait()
	r, err := s.Get(t.Context(), "local/n")
	if err != nil || len(r.Value) != writers*each {
		t.Errorf("counted to %d, %v, want %d", len(r.Value), err, writers*each)
	}
}

// increment adds one byte to the key's value and reports whether it is done
// with it: true also after an unexpected error.
func increment(t *testing.T, s meta.Store, key string) bool {
	r, err := s.Get(t.Context(), key)
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		t.Error(err)
		return true
	}
	_, err = s.Apply(t.Context(), meta.Op{Key: key, Value: append(r.Value, '.'), If: &r.Revision})
	if errors.Is(err, meta.ErrConflict) {
		return false
	}
	if err != nil {
		t.Error(err)
	}
	return true
}

// testListConsistent keeps two keys equal by batches of both; no List may ever
// see them differ, nor a record newer than the list.
func testListConsistent(t *testing.T, s meta.Store) {
	mustApply(t, s, put("local/a", "0"), put("local/b", "0"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		for i := range 200 {
			if _, err := s.Apply(t.Context(), put("local/a", fmt.Sprint(i)), put("local/b", fmt.Sprint(i))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for open := true; open; {
		select {
		case <-stop:
			open = false
		default:
		}
		list, at, err := s.List(t.Context(), "local/")
		if err != nil || len(list) != 2 {
			t.Fatalf("List: %v, %v", list, err)
		}
		if string(list[0].Value) != string(list[1].Value) || list[0].Revision != list[1].Revision || list[0].Revision > at {
			t.Fatalf("List tore a batch: %v at %d", list, at)
		}
		keys, at, err := s.Keys(t.Context(), "local/")
		if err != nil || len(keys) != 2 || keys[0].Revision != keys[1].Revision || keys[0].Revision > at {
			t.Fatalf("Keys tore a batch: %v at %d, %v", keys, at, err)
		}
	}
	wg.Wait()
}

// testCloseUnderLoad closes a store that is in use: calls succeed or report
// the close, and none hangs.
func testCloseUnderLoad(t *testing.T, s meta.Store) {
	started := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				_, err := s.Apply(t.Context(), put(fmt.Sprintf("local/%d/%d", w, i%10), "x"))
				if err == nil {
					_, _, err = s.List(t.Context(), "")
				}
				if i == 3 {
					started <- struct{}{}
				}
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("while closing: %v", err)
					}
					return
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wg.Wait()
}
