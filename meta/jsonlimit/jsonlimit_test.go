package jsonlimit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

func Example() {
	var pod corev1.Pod
	err := jsonlimit.Unmarshal([]byte(`{"spec":{"containers":[`+strings.Repeat("{},", 10_000)+`{}]}}`), &pod)
	fmt.Println(err)
	// Output:
	// spec.containers.512: the document of 30028 bytes would take more than 480448 bytes of memory: it has too many elements that are empty or very small: remove them
}

// tree is a type that contains itself in every way.
type tree struct {
	Name  string          `json:"name"`
	Kids  []tree          `json:"kids"`
	Refs  []*tree         `json:"refs"`
	Named map[string]tree `json:"named"`
	Large map[string][40]int64
	Any   any             `json:"any"`
	Raw   json.RawMessage `json:"raw"`
	Raws  []json.RawMessage
	Bytes []byte
	Fixed [3]tiny
	At    metav1.Time
	Odd   []intstr.IntOrString
	Sizes corev1.ResourceList
	Ints  []int32
	Bools []bool
	Texts []string
	Deep  ***tiny
	tiny
}

type tiny struct {
	A int8   `json:"a"`
	B string `json:"b"`
}

// jsonUnits are the smallest elements for which the decoder allocates.
func jsonUnits() []string {
	return []string{
		`{}`, `[]`, `0`, `""`, `"a"`, `"ab"`, `null`, `true`, `{"a":{}}`, `[[]]`, `[{}]`, `{"a":[]}`, `{"":0}`, `1e5`, `"\n\n"`, "\"\xff\xff\"",
		`{"name":"a"}`, `{"kids":[{}]}`, `{"refs":[{}]}`, `{"named":{"a":{}}}`, `{"KIDS":[{}]}`, "{\"\u212aids\":[{}]}", `{"\u006bids":[{}]}`,
	}
}

func TestAttackDecoders(t *testing.T) {
	of := func(name string, fresh func() any, before, after string) decodetest.Case {
		return decodetest.Case{
			Name: name, Before: before, Between: ",", After: after, Units: jsonUnits(), Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _ = jsonlimit.Unmarshal(b, fresh()) },
		}
	}
	anyOf := func() any { return new(any) }
	cases := []decodetest.Case{
		of("json_any", anyOf, `[`, `]`),
		of("json_any_object", anyOf, `{"a":[`, `]}`),
		of("json_unstructured", func() any { return new(unstructured.Unstructured) }, `{"kind":"a","a":[`, `]}`),
	}
	for _, field := range []string{"kids", "refs", "named", "any", "raw", "Raws", "Bytes", "Fixed", "Odd", "Ints", "Bools", "Texts", "Deep", "unknown"} {
		cases = append(cases, of("json_tree_"+field, func() any { return new(tree) }, `{"`+field+`":[`, `]}`))
	}
	for _, x := range []struct {
		into any
		head string
	}{
		{&corev1.Pod{}, `{"spec":{"containers":[`}, {&corev1.Pod{}, `{"status":{"containerStatuses":[`}, {&corev1.Pod{}, `{"metadata":{"finalizers":[`},
		{&corev1.Pod{}, `{"spec":{"volumes":[`}, {&corev1.Pod{}, `{"spec":{"containers":[{"env":[`}, {&corev1.Node{}, `{"status":{"conditions":[`},
		{&corev1.Node{}, `{"status":{"images":[`}, {&corev1.PodList{}, `{"items":[`}, {&corev1.Event{}, `{"metadata":{"ownerReferences":[`},
		{&v1beta1.Device{}, `{"spec":{"properties":[`}, {&v1beta1.DeviceModel{}, `{"spec":{"properties":[`},
		{&v1beta1.DeviceStatusStatus{}, `{"twins":[`}, {&authenticationv1.TokenRequest{}, `{"spec":{"audiences":[`},
		{&rbacv1.ClusterRole{}, `{"rules":[`}, {&corev1.Secret{}, `{"data":{"a":"","b":[`},
	} {
		closing := strings.NewReplacer("[", "]", "{", "}")
		tail := ""
		for _, c := range x.head {
			if c == '[' || c == '{' {
				tail = closing.Replace(string(c)) + tail
			}
		}
		t0 := reflect.TypeOf(x.into).Elem()
		parts := strings.FieldsFunc(x.head, func(r rune) bool { return strings.ContainsRune("[]{}:,\"", r) })
		c := of("json_"+t0.Name()+"_"+parts[len(parts)-1], func() any { return reflect.New(t0).Interface() }, x.head, tail)
		c.Units = append(c.Units, `{"name":"a"}`, `{"resources":{"limits":{"a":"1"}}}`, `{"lastTransitionTime":null}`, `{"livenessProbe":{}}`,
			`{"a":"1"}`, `{"emptyDir":{}}`, `{"names":[""]}`, `{"valueFrom":{"fieldRef":{}}}`)
		cases = append(cases, c)
	}
	// Maps, whose keys must differ.
	for name, fresh := range map[string]func() any{
		"strings": func() any { return new(map[string]string) }, "any": anyOf, "quantities": func() any { return new(corev1.ResourceList) },
		"large": func() any { return new(map[string][40]int64) }, "trees": func() any { return new(map[string]tree) },
	} {
		var whole [][]byte
		for _, n := range []int{500, 9000, 100_000} {
			for _, value := range []string{`""`, `{}`, `"1"`, `[]`, `0`, `"abcdefgh"`, `"` + strings.Repeat("x", 40) + `"`} {
				var b strings.Builder
				for i := range n {
					fmt.Fprintf(&b, `,"%x":%s`, i, value)
				}
				whole = append(whole, []byte("{"+b.String()[1:]+"}"))
			}
		}
		cases = append(cases, decodetest.Case{Name: "json_map_" + name, Whole: whole, Decode: func(b []byte) { _ = jsonlimit.Unmarshal(b, fresh()) }})
	}
	decodetest.Search(t, cases...)
}

// fullPod is a pod as a chart makes it, with everything short.
func fullPod(containers int) *corev1.Pod {
	quantity := corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi")}
	now := metav1.NewTime(time.Unix(1e9, 0))
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b", UID: "c", Labels: map[string]string{"a": "b", "c": "d"}, CreationTimestamp: now},
	}
	for i := range containers {
		name := fmt.Sprint("c", i)
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{
			Name: name, Image: "i", Env: []corev1.EnvVar{{Name: "A", Value: "b"}, {Name: "C", Value: "d"}},
			Resources:     corev1.ResourceRequirements{Limits: quantity, Requests: quantity},
			VolumeMounts:  []corev1.VolumeMount{{Name: "v", MountPath: "/v"}},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)}}},
		})
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Ready: true, Image: "i", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: "Ready", Status: "True"})
	}
	return pod
}

// TestRealObjects decodes objects of real clusters, in their tersest form: all are
// accepted, and take no more memory than was reckoned.
func TestRealObjects(t *testing.T) {
	decodetest.SkipUnderRace(t)
	list := &corev1.PodList{}
	for range 100 {
		list.Items = append(list.Items, *fullPod(2))
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	for i := range 100 {
		node.Status.Images = append(node.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprint("i", i)}, SizeBytes: 1})
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeReady, Status: "True"})
	}
	labels := &corev1.ConfigMap{Data: map[string]string{}}
	for i := range 1000 {
		labels.Data[fmt.Sprintf("key-%d", i)] = fmt.Sprint("value-", i)
	}
	for name, obj := range map[string]any{
		"a pod": fullPod(1), "30 containers": fullPod(30), "200 containers": fullPod(200), "a list": list, "a node": node, "a config map": labels,
		"a bare pod":   &corev1.Pod{Spec: corev1.PodSpec{Containers: make([]corev1.Container, 20)}},
		"unstructured": map[string]any{"kind": "x", "spec": map[string]any{"a": []any{1, "b", nil, map[string]any{"c": true}}}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := json.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			into := reflect.New(reflect.TypeOf(obj)).Interface()
			reckoned, at, whole := jsonlimit.Reckon(b, into)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err = jsonlimit.Unmarshal(b, into)
			runtime.ReadMemStats(&after)
			took := int(after.TotalAlloc - before.TotalAlloc)
			t.Logf(name+": %d bytes took %.1f each, %.1f were reckoned", len(b), float64(took)/float64(len(b)), float64(reckoned)/float64(len(b)))
			if err != nil {
				t.Error(err)
			}
			if !whole || took > reckoned+4<<10 {
				t.Errorf("%d bytes of %d took %d bytes of memory, reckoned were %d", len(b), at, took, reckoned)
			}
		})
	}
}

func TestUnmarshal(t *testing.T) {
	many := strings.Repeat("{},", 50_000)
	for _, tt := range []struct {
		name, text string
		into       any
		path       string // of the LimitError; "" for none
		deep, fail bool
	}{
		{"good", `{"name":"a","kids":[{},{}],"b":"c"}`, &tree{}, "", false, false},
		{"spaces", " { \"kids\" : [ { } , { } ] }\n", &tree{}, "", false, false},
		{"kids", `{"kids":[` + many + `{}]}`, &tree{}, "kids.", false, true},
		{"kids in another case", `{"KiDs":[` + many + `{}]}`, &tree{}, "KiDs.", false, true},
		{"kids with a Kelvin sign", "{\"\u212aids\":[" + many + `{}]}`, &tree{}, "\u212aids.", false, true},
		{"kids with an escape", `{"\u006bids":[` + many + `{}]}`, &tree{}, `\u006bids.`, false, true},
		{"unknown", `{"goats":[` + many + `{}]}`, &tree{}, "", false, false},
		{"deep", strings.Repeat(`{"kids":[`, 150) + strings.Repeat("]}", 150), &tree{}, "", true, true},
		{"deep unknown", `{"x":` + strings.Repeat(`[`, 201) + strings.Repeat("]", 201) + "}", &tree{}, "", true, true},
		{"not JSON", `{"kids":[`, &tree{}, "", false, true},
		{"nothing", ``, &tree{}, "", false, true},
		{"no comma", `{"name":"a" "b":"c"}`, &tree{}, "", false, true},
		{"no colon", `{"name" "a"}`, &tree{}, "", false, true},
		{"an open string", `{"name":"a\"`, &tree{}, "", false, true},
		{"no pointer", `{}`, tree{}, "", false, true},
		{"nil", `{}`, nil, "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := jsonlimit.Unmarshal([]byte(tt.text), tt.into)
			e, ok := errors.AsType[*jsonlimit.LimitError](err)
			if (err != nil) != tt.fail || ok != (tt.path != "" || tt.deep) || ok && (e.Deep != tt.deep || !strings.HasPrefix(e.Path, tt.path)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, u := range jsonUnits() {
		f.Add([]byte(`{"kids":[` + u + `],"any":` + u + `}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var with, without tree
		err := jsonlimit.Unmarshal(b, &with)
		if _, ok := errors.AsType[*jsonlimit.LimitError](err); ok {
			return
		}
		// An accepted document is decoded as encoding/json does.
		want := json.Unmarshal(b, &without)
		if (err == nil) != (want == nil) || err == nil && !reflect.DeepEqual(with, without) {
			t.Errorf("%v, %v", err, want)
		}
	})
}

func BenchmarkUnmarshal(b *testing.B) {
	text, err := json.Marshal(fullPod(3))
	if err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]func([]byte, any) error{"check": jsonlimit.Check, "json": json.Unmarshal} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := f(text, &corev1.Pod{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
