package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/install"
)

// TestWaitRollout: an API server that is away for a while does not end the wait; its last error is
// said when the time is over. A user without rights is not kept waiting.
func TestWaitRollout(t *testing.T) {
	ready := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: install.Name, Namespace: "edgekit-system"}, Status: appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}}
	away := errors.New("connection refused")
	for name, test := range map[string]struct {
		fails error
		until time.Duration // the GETs fail
		want  string        // in the error; "" for none
		took  time.Duration
	}{
		"ready":                     {},
		"the API server is away":    {fails: away, until: 30 * time.Second, took: 30 * time.Second},
		"it does not come back":     {fails: away, until: time.Hour, want: "not known after 1m0s whether cloudcore is ready: deployment edgekit-system/cloudcore: connection refused", took: time.Minute},
		"the Deployment comes late": {fails: apierrors.NewNotFound(schema.GroupResource{Resource: "deployments"}, install.Name), until: 10 * time.Second, took: 10 * time.Second},
		"no rights":                 {fails: apierrors.NewForbidden(schema.GroupResource{Resource: "deployments"}, install.Name, nil), until: time.Hour, want: "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				client := fake.NewClientset(ready)
				client.PrependReactor("get", "deployments", func(k8stesting.Action) (bool, runtime.Object, error) {
					return time.Since(begun) < test.until, nil, test.fails
				})
				err := waitRollout(t.Context(), client, rollout{namespace: "edgekit-system", limit: time.Minute, out: io.Discard})
				if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || time.Since(begun) != test.took {
					t.Errorf("after %s: %v", time.Since(begun), err)
				}
			})
		})
	}
}
