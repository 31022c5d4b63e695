package dra_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/dra/dratest"
	"github.com/edgekit/edgekit/meta"
)

var errCrash = errors.New("the program was killed")

// crashStore is a store of a program that is killed at its nth write: before that, or after.
type crashStore struct {
	meta.Store
	left  int
	after bool
}

func (s *crashStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if s.left--; s.left > 0 {
		return s.Store.Apply(ctx, ops...)
	}
	if s.left == 0 && s.after {
		if _, err := s.Store.Apply(ctx, ops...); err != nil {
			return 0, err
		}
	}
	return 0, errCrash // nothing is written after the end
}

// TestCrash kills the program at each write to the store, before and after it took effect,
// and the driver between each work and its answer. The pod is started again, or has vanished
// meanwhile: the end is the same, and no device is left with the driver.
func TestCrash(t *testing.T) {
	for _, vanished := range []bool{false, true} {
		for n := 1; n <= 6; n++ {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("write %d, after %t, pod vanished %t", n, after, vanished), func(t *testing.T) { crash(t, n, after, vanished, "") })
			}
		}
		for _, call := range []string{"NodePrepareResources", "NodeUnprepareResources"} {
			t.Run(fmt.Sprintf("the driver dies in %s, pod vanished %t", call, vanished), func(t *testing.T) { crash(t, 100, false, vanished, call) })
		}
	}
}

func crash(t *testing.T, write int, after, vanished bool, dies string) {
	m := newMachine(t)
	m.claim("gpu", []string{driverName, "other.example.com"}, "a")
	m.claim("nic", []string{driverName}, "a")
	p := pod("a", "gpu", "nic")
	kept := m.store
	m.store = &crashStore{Store: kept, left: write, after: after}
	m.restart()
	first, stop := m.driver(dratest.Config{CDI: m.root + "/cdi"})
	second, stopSecond := m.driver(dratest.Config{Name: "other.example.com", CDI: m.root + "/cdi"})
	if dies != "" {
		first.Die(dies)
	}
	// What a life of the program does, until it is killed.
	failed := m.m.Prepare(t.Context(), p)
	if failed == nil {
		failed = m.m.Unprepare(t.Context(), "a")
	}
	if failed == nil && write <= 6 && dies == "" {
		t.Fatal("nothing was killed")
	}
	held := append(first.Prepared(), second.Prepared()...)
	stop()
	stopSecond()
	m.store = kept
	m.restart()
	if len(held) > 0 && !m.m.Uses("a") {
		t.Fatalf("the drivers hold %q, and the store knows no pod", held)
	}
	// A driver that died begins anew, with what it has on the disk.
	first, _ = m.driver(dratest.Config{CDI: m.root + "/cdi"})
	second, _ = m.driver(dratest.Config{Name: "other.example.com", CDI: m.root + "/cdi"})
	if !vanished {
		m.prepare(p)
		m.expectDevices(p, driverName+"/claim=uid-gpu", "other.example.com/claim=uid-gpu", driverName+"/claim=uid-nic")
	}
	for _, uid := range m.m.Pods() {
		m.unprepare(uid)
	}
	if n := m.kept(); n != 0 || len(first.Prepared())+len(second.Prepared()) != 0 {
		t.Errorf("%d records are left, prepared are %q and %q", n, first.Prepared(), second.Prepared())
	}
	if files := m.cdiFiles(); len(files) != 0 {
		t.Errorf("CDI files are left: %q", files)
	}
}

// brokenStore cannot be read.
type brokenStore struct{ meta.Store }

func (brokenStore) List(context.Context, string) ([]meta.Record, uint64, error) {
	return nil, 0, errCrash
}

// TestDamagedRecord leaves out what cannot be read, and has it prepared anew.
func TestDamagedRecord(t *testing.T) {
	m := newMachine(t)
	for key, value := range map[string]string{
		"local/dra/claims/x": "{", "local/dra/claims/y": `{"uid":"z","name":"n","namespace":"ns","pods":["a"]}`, "local/dra/claims/uid-gpu": `{"uid":"uid-gpu"}`,
	} {
		if _, err := m.store.Apply(t.Context(), meta.Op{Key: key, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	m.restart()
	if got := m.m.Pods(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	m.driver(dratest.Config{})
	m.claim("gpu", []string{driverName}, "a")
	m.prepare(pod("a", "gpu"))
	m.unprepare("a")
	broken, err := dra.New(dra.Config{Store: brokenStore{m.store}, Claims: m})
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.Load(t.Context()); !errors.Is(err, errCrash) {
		t.Errorf("%v", err)
	}
}
