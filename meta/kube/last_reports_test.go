package kube_test

import (
	"errors"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
)

// realManager replaces the fake one: its reports are in the store.
func (s *setup) realManager(t *testing.T) {
	t.Helper()
	m, err := manager.New(manager.Config{Store: s.store, Node: "gate-7"})
	must(t, err)
	s.Client, err = kube.New(kube.Config{Store: s.store, Manager: m, Node: "gate-7"})
	must(t, err)
}

// spoil stores a value that is not a report under the key of one.
func (s *setup) spoil(t *testing.T, key meta.Key, value []byte) {
	t.Helper()
	_, err := s.store.Apply(t.Context(), meta.Op{Key: meta.Up + key.Path(), Value: value})
	must(t, err)
}

func TestLastNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		s.realManager(t)
		var missing interface{ NotFound() bool }
		if _, err := s.LastNode(t.Context()); !errors.As(err, &missing) {
			t.Errorf("before the first report: %v", err)
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastTransitionTime: metav1.Now().Rfc3339Copy()}}
		must(t, s.Node(t.Context(), node))
		s.realManager(t)
		got, err := s.LastNode(t.Context())
		if err != nil || !got.Status.Conditions[0].LastTransitionTime.Equal(&node.Status.Conditions[0].LastTransitionTime) {
			t.Errorf("after a restart: %+v, %v", got, err)
		}
		key := meta.Key{Resource: "nodes", Name: "gate-7"}
		for _, value := range [][]byte{[]byte("x"), meta.EncodeObject(meta.Object{Body: []byte("{")})} {
			s.spoil(t, key, value)
			if got, err := s.LastNode(t.Context()); err == nil || errors.As(err, &missing) {
				t.Errorf("%q was read as %+v, %v", value, got, err)
			}
		}
		s.spoil(t, key, meta.EncodeObject(meta.Object{Deleted: true, Body: []byte("{}")}))
		if got, err := s.LastNode(t.Context()); !errors.As(err, &missing) {
			t.Errorf("a deletion was read as %+v, %v", got, err)
		}
	})
}

func TestLastPodStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		s.realManager(t)
		var missing interface{ NotFound() bool }
		p := pod("x", "1")
		if _, err := s.LastPodStatus(t.Context(), p); !errors.As(err, &missing) {
			t.Errorf("before the first report: %v", err)
		}
		p.Status.Phase = corev1.PodRunning
		must(t, s.PodStatus(t.Context(), p))
		s.realManager(t)
		if got, err := s.LastPodStatus(t.Context(), p); err != nil || got.Phase != corev1.PodRunning {
			t.Errorf("after a restart: %+v, %v", got, err)
		}
		p.UID = "another"
		if got, err := s.LastPodStatus(t.Context(), p); !errors.As(err, &missing) {
			t.Errorf("the status of a former pod of that name was read as %+v, %v", got, err)
		}
		s.spoil(t, meta.Key{Resource: "pods/status", Namespace: "a", Name: "x"}, []byte("x"))
		if got, err := s.LastPodStatus(t.Context(), p); err == nil || errors.As(err, &missing) {
			t.Errorf("what is no report was read as %+v, %v", got, err)
		}
	})
}

// TestLastPodStatusOfStaticPod reads what was reported under the uid of the mirror, which
// only the API server assigns.
func TestLastPodStatusOfStaticPod(t *testing.T) {
	mirror := func(uid, of string) *corev1.Pod {
		m := pod("x", "1")
		m.UID = types.UID(uid)
		m.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: of, "kubernetes.io/config.hash": of}
		return m
	}
	for _, tc := range []struct {
		name  string
		shown *corev1.Pod // by the cloud; nil: nothing
		found bool
	}{
		{"the mirror of this manifest", mirror("uid-mirror", "uid-x"), true},
		{"the mirror of another manifest", mirror("uid-mirror", "uid-before"), false},
		{"another mirror than the one reported for", mirror("uid-later", "uid-x"), false},
		{"a pod that is no mirror", func() *corev1.Pod { p := pod("x", "1"); p.UID = "uid-mirror"; return p }(), false},
		{"no mirror", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				defer s.stop()
				s.realManager(t)
				reported := pod("x", "1")
				reported.UID, reported.Status.Phase = "uid-mirror", corev1.PodRunning
				must(t, s.PodStatus(t.Context(), reported))
				if tc.shown != nil {
					s.put(t, "pods", "a", "x", tc.shown)
				}
				s.realManager(t) // a restart
				own := pod("x", "1")
				own.Annotations = map[string]string{"kubernetes.io/config.source": "file", "kubernetes.io/config.hash": "uid-x"}
				got, err := s.LastPodStatus(t.Context(), own)
				var missing interface{ NotFound() bool }
				switch {
				case tc.found && (err != nil || got.Phase != corev1.PodRunning):
					t.Errorf("after a restart: %+v, %v", got, err)
				case !tc.found && !errors.As(err, &missing):
					t.Errorf("recalled %+v, %v", got, err)
				}
			})
		})
	}
}
