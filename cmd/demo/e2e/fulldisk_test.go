package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// fullDisk fills the disk that the node keeps its store on. The Node gets
// DiskPressure, nothing that runs ends, and what was asked for meanwhile is done when there is
// room again.
func fullDisk(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k := newKube(t, s)
	store := filepath.Join(s.DataDir(tour.Node), "meta")
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	swap(t, store, 128<<20)
	start := func() {
		if _, err := s.StartEdge(tour.Node); err != nil {
			t.Fatal(err)
		}
		k.until(ctx, func() error { // badger must not be amid opening when the disk fills up
			_, err := s.Twins(ctx, tour.Namespace, tour.Device)
			return err
		})
	}
	start()
	await(ctx, t, s, whole)
	before := processes(ctx, t, s)

	// A commit that is under way while others fill the disk to the last byte kills
	// the process, as badgerstore says; a service manager starts it again.
	tend := func() {
		if running, err := s.Running(ctx, "edgecore"); err != nil {
			t.Fatal(err)
		} else if !running {
			t.Log("edgecore has ended and is started again")
			start()
		}
	}
	filler := filepath.Join(store, "filler")
	fill(t, filler)
	await(ctx, t, s, func(n *corev1.Node) bool {
		tend()
		i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeDiskPressure })
		return i >= 0 && n.Status.Conditions[i].Status == corev1.ConditionTrue && n.Status.Conditions[i].Reason == "StoreUnwritable"
	})
	k.run(ctx, "", "-n", tour.Namespace, "scale", "deployment", tour.App, "--replicas=3")
	restarted(t, before, processes(ctx, t, s))
	if err := s.KillEdge(ctx); err != nil { // it must come up on a full disk, too
		t.Fatal(err)
	}
	start()
	if c := hold(ctx, t, s, 10*time.Second); c != corev1.ConditionTrue {
		t.Errorf("DiskPressure is %q after a start on a full disk", c)
	}
	restarted(t, before, processes(ctx, t, s))

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, func(n *corev1.Node) bool {
		tend()
		return whole(n) && condition(n, corev1.NodeDiskPressure) == corev1.ConditionFalse
	})
	k.ready(ctx, tour.App, 3)
	k.until(ctx, func() error {
		if k.run(ctx, "", "get", "events", "-A", "--field-selector", "reason=StoreUnwritable", "-o", "name") == "" {
			return errors.New("no event StoreUnwritable")
		}
		return nil
	})
	restarted(t, before, processes(ctx, t, s))
	k.run(ctx, "", "-n", tour.Namespace, "scale", "deployment", tour.App, "--replicas=1")
	k.ready(ctx, tour.App, 1)
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	swapBack(t, store)
	start()
	await(ctx, t, s, whole)
}

// hold returns the node's DiskPressure after a while.
func hold(ctx context.Context, t *testing.T, s *site.Site, d time.Duration) corev1.ConditionStatus {
	t.Helper()
	over := time.Now().Add(d)
	var c corev1.ConditionStatus
	await(ctx, t, s, func(n *corev1.Node) bool {
		c = condition(n, corev1.NodeDiskPressure)
		return time.Now().After(over)
	})
	return c
}

// swap puts a disk of its own, of some size, in the place of a folder, with what
// the folder holds.
func swap(t *testing.T, dir string, size int) {
	t.Helper()
	aside := dir + ".aside"
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // done already if all went well
	if err := os.CopyFS(dir, os.DirFS(aside)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(aside); err != nil {
		t.Fatal(err)
	}
}

// swapBack makes it a folder again.
func swapBack(t *testing.T, dir string) {
	t.Helper()
	aside := dir + ".aside"
	if err := os.CopyFS(aside, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// fill writes a file until the disk takes no more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for piece := make([]byte, 4096); ; {
		if _, err := f.Write(piece); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
