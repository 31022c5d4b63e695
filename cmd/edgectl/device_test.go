package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device/v1beta1"
	deviceschema "github.com/edgekit/edgekit/device/v1beta1/schema"
)

func TestDeviceConvert(t *testing.T) {
	file := filepath.Join(t.TempDir(), "old.yaml")
	if err := os.WriteFile(file, []byte("{apiVersion: devices.kubeedge.io/v1alpha2, kind: Device, metadata: {name: d}, spec: {deviceModelRef: {name: m}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := (&deviceConvert{Files: []string{file}}).Run(t.Context(), program.Output{Writer: &out}); err != nil || !strings.Contains(out.String(), "devices.kubeedge.io/v1beta1") {
		t.Errorf("%s, %v", out.String(), err)
	}
	_, isUsage := errors.AsType[*program.UsageError]((&deviceConvert{Files: []string{file + ".none"}}).Run(t.Context(), program.Output{Writer: &out}))
	if !isUsage {
		t.Error("no file: no error that names the argument")
	}
}

func TestParseValues(t *testing.T) {
	got, err := parseValues([]string{"a=1", "b==x y"})
	if err != nil || len(got) != 2 || got[1].Name != "b" || got[1].Desired.Value != "=x y" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"a", "=1", ""} {
		if _, err := parseValues([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestPrintEvents(t *testing.T) {
	var out strings.Builder
	stream := `{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["pump","edge-1","online","1s","t=7"]}]}}
{"type":"BOOKMARK","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["","","","",""]}]}}
{"type":"DELETED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["pump","edge-1","online","1s","t=7"]}]}}
{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"list again"}}
`
	err := printEvents(&out, strings.NewReader(stream))
	if !apierrors.IsResourceExpired(err) {
		t.Errorf("error %v", err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || strings.Join(strings.Fields(lines[1]), " ") != "pump edge-1 online t=7" || !strings.Contains(lines[2], "(deleted)") {
		t.Errorf("printed\n%s", out.String())
	}
}

func TestNotServed(t *testing.T) {
	gr := schema.GroupResource{Group: "twins.edgekit.io", Resource: "twins"}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"nothing":        {nil, false},
		"no such group":  {apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{}, "", "404 page not found", 0, true), true},
		"no such device": {apierrors.NewNotFound(gr, "pump"), false},
		"no answer":      {apierrors.NewServiceUnavailable("no endpoints"), true},
		"no right":       {apierrors.NewForbidden(gr, "", nil), false},
	} {
		if got := notServed(tt.err); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestPrintAnswer(t *testing.T) {
	want := []deviceschema.Property{{Name: "t", Desired: &deviceschema.Value{Value: "45"}}}
	var status v1beta1.DeviceStatus
	status.Status.State = "online"
	status.Status.Twins = []deviceschema.Twin{{PropertyName: "t", Reported: &deviceschema.Value{Value: "44"}}}
	var out strings.Builder
	if err := printAnswer(&out, status, want); err != nil || out.String() != "t: desired 45, reported 44; the device is online\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	status.Status.Conditions = []metav1.Condition{{Type: "DesiredValid", Status: metav1.ConditionFalse, Reason: "OutOfRange", Message: "t: 45 is above 40"}}
	if err := printAnswer(&out, status, want); err == nil || !strings.Contains(err.Error(), "t: 45 is above 40") {
		t.Errorf("a refusal: %v", err)
	}
}

// TestDeviceWatch: a watch that the server ends is opened again, until the context ends.
func TestDeviceWatch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var opened atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if opened.Add(1) == 3 {
			cancel()
		}
		fmt.Fprintln(w, `{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"cells":["pump","edge-1","online","1s","t=7"]}]}}`)
	}))
	defer server.Close()
	config := filepath.Join(t.TempDir(), "kubeconfig")
	text := "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: '" + server.URL + "'}}], contexts: [{name: c, context: {cluster: c}}]}"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := new(deviceWatch).Run(ctx, &cli{Kubeconfig: config}, program.Output{Writer: &out}); err != nil {
		t.Error(err)
	}
	if got := strings.Count(out.String(), "t=7"); got < 2 {
		t.Errorf("%d watches, printed\n%s", opened.Load(), out.String())
	}
}
