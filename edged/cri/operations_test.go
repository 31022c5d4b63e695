package cri

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
)

func TestOperations(t *testing.T) {
	for method, want := range map[string]string{
		"/runtime.v1.RuntimeService/RunPodSandbox": "run_podsandbox", "/runtime.v1.RuntimeService/ListPodSandbox": "list_podsandbox",
		"/runtime.v1.RuntimeService/PodSandboxStatus": "podsandbox_status", "/runtime.v1.RuntimeService/UpdateContainerResources": "update_container",
		"/runtime.v1.RuntimeService/ExecSync": "exec_sync", "/runtime.v1.ImageService/ImageFsInfo": "image_fs_info", "/runtime.v1.RuntimeService/Version": "version",
	} {
		if got := operation(method); got != want {
			t.Errorf("%s is %s, want %s", method, got, want)
		}
	}
	c := &Client{operations: newOperations()}
	for _, err := range []error{nil, errors.New("no")} {
		got := c.operations.intercept(t.Context(), "/runtime.v1.RuntimeService/StopContainer", nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return err })
		if !errors.Is(got, err) {
			t.Errorf("%v, want %v", got, err)
		}
	}
	var out strings.Builder
	if err := metricstext.Write(&out, prometheus.Collector(c)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`kubelet_runtime_operations_total{operation_type="stop_container"} 2`, `kubelet_runtime_operations_errors_total{operation_type="stop_container"} 1`,
		`kubelet_runtime_operations_duration_seconds_count{operation_type="stop_container"} 2`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}
