package podsources_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/podsources"
	"github.com/edgekit/edgekit/edged/static"
)

// objects sends the lists that it is given.
type objects chan []*corev1.Pod

func (o objects) Pods(context.Context) (<-chan []*corev1.Pod, error) { return o, nil }

// mirrors notes what is reported.
type mirrors struct {
	calls []string
	err   error
}

func (m *mirrors) MirrorPod(_ context.Context, pod *corev1.Pod) error {
	m.calls = append(m.calls, "mirror "+pod.Name)
	return m.err
}

func (m *mirrors) PodGone(_ context.Context, pod *corev1.Pod) error {
	m.calls = append(m.calls, "gone "+pod.Name)
	return m.err
}

func pod(name string, uid types.UID) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: uid, Annotations: map[string]string{}}}
}

func never(*corev1.PodStatus) bool { return false }

// TestFirst: the node waits for the first list of each source; static pods come first, and what
// the API server shows of them is not run.
func TestFirst(t *testing.T) {
	dir := t.TempDir()
	const manifest = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	if err := os.WriteFile(filepath.Join(dir, "web.json"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	api := make(objects, 1)
	s, err := podsources.New(podsources.Config{Objects: api, Node: "edge", Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	if err := s.Follow(ctx, func(run func()) { group.Go(run) }); err != nil {
		t.Fatal(err)
	}
	mirror := pod("web-edge", "m")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "old"}
	api <- []*corev1.Pod{pod("a", "1"), mirror}
	if !s.WaitForFirst(ctx) {
		t.Fatal("there is no first list")
	}
	var names []string
	for _, p := range s.All() {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"web-edge", "a"}) || !static.Is(s.All()[0]) || s.Mirror(s.All()[0]) != nil {
		t.Errorf("pods %q", names)
	}
	// A second wait takes what is there, and notices the end.
	close(api)
	if s.WaitForFirst(ctx) {
		t.Error("the end of Objects.Pods is not noticed")
	}
}

// TestEnds: a context that ends ends the wait.
func TestEnds(t *testing.T) {
	s, err := podsources.New(podsources.Config{Objects: make(objects), Node: "edge", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Follow(ctx, func(func()) { t.Error("something runs without a static source") }); err != nil {
		t.Fatal(err)
	}
	cancel()
	if s.WaitForFirst(ctx) {
		t.Error("it did not end")
	}
}

// TestSyncMirrors: each static pod is shown once, and by a mirror of this manifest; other mirrors
// go.
func TestSyncMirrors(t *testing.T) {
	fresh, old, ended, lost := pod("fresh", "p1"), pod("old", "p2"), pod("ended", "p3"), pod("new", "p4")
	mirror := func(name string, uid types.UID, of string) *corev1.Pod {
		m := pod(name, uid)
		m.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: of}
		return m
	}
	over := mirror("ended", "m3", "p3")
	over.Status.Phase = corev1.PodFailed
	s, err := podsources.New(podsources.Config{Objects: make(objects), Node: "edge", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.SetFolder([]*corev1.Pod{fresh, old, ended})
	s.SetURL([]*corev1.Pod{lost, pod("fresh", "p5")}) // of one name that of the folder counts
	s.SetAPI([]*corev1.Pod{mirror("fresh", "m1", "p1"), mirror("old", "m2", "older"), over, mirror("removed", "m6", "p6")})
	to := new(mirrors)
	shown, ok := s.SyncMirrors(t.Context(), to, func(st *corev1.PodStatus) bool { return st.Phase == corev1.PodFailed })
	slices.Sort(to.calls)
	if want := "gone ended, gone old, gone removed, mirror new"; strings.Join(to.calls, ", ") != want || !ok || len(shown) != 1 || shown["p1"] != "m1" {
		t.Errorf("calls %q, shown %v, %t", to.calls, shown, ok)
	}
	to = &mirrors{err: errors.New("full")}
	if _, ok := s.SyncMirrors(t.Context(), to, never); ok {
		t.Error("a report that failed is not tried again")
	}
}
