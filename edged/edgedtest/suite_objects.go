package edgedtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
)

// NodeName is the name of the node in all suites.
const NodeName = "gate-7"

// patience is how long a suite waits for what an implementation must do soon.
const patience = time.Minute

// Cloud is what stands above an implementation of edged.Objects: what is put here must
// come out there. An API is one.
type Cloud interface {
	PutPod(pod *corev1.Pod)
	RemovePod(uid types.UID)
	PutConfigMap(cm *corev1.ConfigMap)
	RemoveConfigMap(namespace, name string)
	PutSecret(s *corev1.Secret)
	PutService(s *corev1.Service)
}

// RunObjects holds an implementation of edged.Objects to its contract. open makes one
// that has nothing yet, and what stands above it.
func RunObjects(t *testing.T, open func(t *testing.T) (edged.Objects, Cloud)) {
	t.Run("pods", func(t *testing.T) {
		objects, cloud := open(t)
		testPods(t, objects, cloud)
	})
	t.Run("only the newest list waits", func(t *testing.T) {
		objects, cloud := open(t)
		testNewestList(t, objects, cloud)
	})
	t.Run("config maps and secrets", func(t *testing.T) {
		objects, cloud := open(t)
		testReferences(t, objects, cloud)
	})
	t.Run("changed", func(t *testing.T) {
		objects, cloud := open(t)
		testChanged(t, objects, cloud)
	})
	t.Run("services", func(t *testing.T) {
		objects, cloud := open(t)
		testServices(t, objects, cloud)
	})
	t.Run("tokens", func(t *testing.T) {
		objects, _ := open(t)
		testToken(t, objects)
	})
}

// testPods: the first value is the full list, each later one again; the channel is
// closed when the context ends.
func testPods(t *testing.T, objects edged.Objects, cloud Cloud) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cloud.PutPod(newPod("first"))
	lists, err := objects.Pods(ctx)
	if err != nil {
		t.Fatalf("Pods: %v", err)
	}
	waitForPods(t, lists, "first")
	cloud.PutPod(newPod("second"))
	waitForPods(t, lists, "first", "second")
	cloud.RemovePod(newPod("first").UID)
	waitForPods(t, lists, "second")
	cancel()
	waitForClose(t, lists)
}

// testNewestList: a reader that is late gets the newest list, and no older one after
// it.
func testNewestList(t *testing.T, objects edged.Objects, cloud Cloud) {
	lists, err := objects.Pods(t.Context())
	if err != nil {
		t.Fatalf("Pods: %v", err)
	}
	var names []string
	for _, name := range []string{"a", "b", "c", "d"} {
		cloud.PutPod(newPod(name))
		names = append(names, name)
	}
	waitForPods(t, lists, names...)
	select {
	case list := <-lists:
		if got := podNames(list); !slices.Equal(got, names) {
			t.Errorf("after the newest list came an older one: %q", got)
		}
	default:
	}
	if cap(lists) > 1 {
		t.Errorf("the channel holds %d lists, want one: the newest", cap(lists))
	}
}

// testReferences: what exists is read whole; an error for what does not matches
// interface{ NotFound() bool }.
func testReferences(t *testing.T, objects edged.Objects, cloud Cloud) {
	ctx := t.Context()
	cloud.PutPod(podWithReferences("web", "settings", "keys"))
	cloud.PutConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"level": "debug"}})
	cloud.PutSecret(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "keys"}, Data: map[string][]byte{"key": []byte("s3cret")}})
	cm, err := eventually(t, func() (*corev1.ConfigMap, error) { return objects.ConfigMap(ctx, "default", "settings") })
	if err != nil || cm.Data["level"] != "debug" {
		t.Errorf("ConfigMap: %v, %v", cm, err)
	}
	s, err := eventually(t, func() (*corev1.Secret, error) { return objects.Secret(ctx, "default", "keys") })
	if err != nil || string(s.Data["key"]) != "s3cret" {
		t.Errorf("Secret: %v, %v", s, err)
	}
	cloud.RemoveConfigMap("default", "settings")
	_, err = eventually(t, func() (struct{}, error) {
		if cm, err := objects.ConfigMap(ctx, "default", "settings"); !isNotFound(err) {
			return struct{}{}, fmt.Errorf("%+v, %w", cm, cmp.Or(err, errors.New("no error")))
		}
		return struct{}{}, nil
	})
	if err != nil {
		t.Errorf("ConfigMap after it was removed: %v; want an error with NotFound", err)
	}
}

// testChanged: a change of a config map or secret is noticed; the channel is closed when
// the context ends.
func testChanged(t *testing.T, objects edged.Objects, cloud Cloud) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changed := objects.Changed(ctx)
	cloud.PutConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}})
	select {
	case _, ok := <-changed:
		if !ok {
			t.Error("the channel was closed before its context ended")
		}
	case <-time.After(patience):
		t.Errorf("a new config map was not noticed in %s", patience)
	}
	if cap(changed) > 1 {
		t.Errorf("the channel holds %d values, want one", cap(changed))
	}
	cancel()
	waitForClose(t, changed)
}

// testServices: only those of the namespace are listed, and none is no error.
func testServices(t *testing.T, objects edged.Objects, cloud Cloud) {
	ctx := t.Context()
	cloud.PutService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}})
	cloud.PutService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "web"}})
	list, err := eventually(t, func() ([]*corev1.Service, error) {
		list, err := objects.Services(ctx, "default")
		if err == nil && len(list) == 0 {
			err = errors.New("no Service is listed")
		}
		return list, err
	})
	if err != nil || len(list) != 1 || list[0].Name != "db" {
		t.Errorf("Services: %d, %v; want db alone", len(list), err)
	}
	if list, err := objects.Services(ctx, "empty"); err != nil || len(list) != 0 {
		t.Errorf("Services of a namespace without any: %d, %v", len(list), err)
	}
}

// testToken: a token and the time of its end come back.
func testToken(t *testing.T, objects edged.Objects) {
	seconds := int64(3600)
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	got, err := objects.Token(t.Context(), "default", "default", req)
	if err != nil || got.Status.Token == "" || !got.Status.ExpirationTimestamp.After(time.Now()) {
		t.Errorf("Token: %+v, %v", got, err)
	}
	if req.Status.Token != "" {
		t.Error("the request was changed")
	}
}

// eventually repeats a read until it succeeds: what was put into the cloud may take a
// moment to the node.
func eventually[T any](t *testing.T, read func() (T, error)) (T, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		value, err := read()
		if err == nil {
			return value, nil
		}
		select {
		case <-ctx.Done():
			return value, err
		case <-again.C:
		}
	}
}

// waitForPods reads lists until one has the pods of these names.
func waitForPods(t *testing.T, lists <-chan []*corev1.Pod, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	for {
		select {
		case list, ok := <-lists:
			if !ok {
				t.Fatal("the channel was closed before its context ended")
			}
			if got = podNames(list); slices.Equal(got, want) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no list of %q in %s; the last was %q", want, patience, got)
		}
	}
}

// waitForClose reads a channel until it is closed.
func waitForClose[T any](t *testing.T, ch <-chan T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		select {
		case _, ok := <-ch:
			if !ok {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the channel is open %s after its context ended", patience)
		}
	}
}

func podNames(list []*corev1.Pod) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Name
	}
	slices.Sort(names)
	return names
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}},
	}
}

// podWithReferences is a pod that refers to a config map and a secret: a node may know
// only those that its pods refer to.
func podWithReferences(name, configMap, secret string) *corev1.Pod {
	p := newPod(name)
	p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}},
	}
	return p
}
