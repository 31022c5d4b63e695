package protolimit

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

type unmarshaler interface{ Unmarshal([]byte) error }

// TestAttackDecoders repeats the smallest elements in lists of every kind.
func TestAttackDecoders(t *testing.T) {
	nested := func(numbers ...protowire.Number) func([]byte) []byte {
		return func(b []byte) []byte {
			for i := len(numbers) - 1; i >= 0; i-- {
				b = protowire.AppendBytes(protowire.AppendTag(nil, numbers[i], protowire.BytesType), b)
			}
			return b
		}
	}
	var units []string
	for n := protowire.Number(1); n < 28; n++ {
		for _, inner := range []string{"", "\x0a\x02ab", "\x0a\x01a\x12\x00"} {
			units = append(units, string(protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), []byte(inner))))
		}
	}
	var cases []decodetest.Case
	for _, x := range []struct {
		name string
		into unmarshaler
		wrap func([]byte) []byte
	}{
		{"pod_meta", &corev1.Pod{}, nested(1)}, {"pod_spec", &corev1.Pod{}, nested(2)}, {"pod_status", &corev1.Pod{}, nested(3)},
		{"container", &corev1.Pod{}, nested(2, 2)}, {"resources", &corev1.Pod{}, nested(2, 2, 8)}, {"node_status", &corev1.Node{}, nested(3)},
		{"event", &corev1.Event{}, nested()}, {"events.k8s.io", &eventsv1.Event{}, nested()}, {"endpoints", &discoveryv1.EndpointSlice{}, nested()},
		{"pods", &corev1.PodList{}, nested()}, {"delete", &metav1.DeleteOptions{}, nested()}, {"secret", &corev1.Secret{}, nested()},
	} {
		typ := reflect.TypeOf(x.into).Elem()
		cases = append(cases, decodetest.Case{Name: "proto_" + x.name, Units: units, Wrap: x.wrap, Decode: func(b []byte) {
			into := reflect.New(typ).Interface().(unmarshaler)
			if Check(b, into) == nil {
				_ = into.Unmarshal(b)
			}
		}})
	}
	decodetest.Search(t, cases...)
}

func TestCheck(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"a": "b", "c": "d"}}}
	for i := range 20 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: fmt.Sprint("c", i), Image: "registry.example.com/group/image:1.2.3", Env: []corev1.EnvVar{{Name: "LOG_LEVEL", Value: "info"}},
			Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}},
			Command:   []string{"/bin/server", "--config=/etc/server/config.yaml", "--listen=:8080"},
		})
	}
	good, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(good, &corev1.Pod{}); err != nil {
		t.Error(err)
	}
	bad := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), strings.Repeat("\x12\x00", 100_000))
	if e, ok := errors.AsType[*jsonlimit.LimitError](Check(bad, &corev1.Pod{})); !ok || e.Path != "Spec.Containers" {
		t.Errorf("empty containers: %v", e)
	}
	for _, b := range [][]byte{nil, {0xff}, good[:len(good)/2], []byte("{}")} {
		if err := Check(b, &corev1.Pod{}); err != nil {
			t.Errorf("%.20q: %v", b, err)
		}
	}
	if Check(good, nil) != nil || Check(good, corev1.Pod{}) != nil {
		t.Error("what cannot be decoded into is for the decoder to refuse")
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte("\x12\x02\x12\x00"))
	f.Fuzz(func(t *testing.T, b []byte) { _ = Check(b, &corev1.Pod{}) })
}
