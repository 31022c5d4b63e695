package apiserver

import (
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// draClient is client-go with a pod's token, which asks for the content types that DRA drivers ask for.
func (g *guarded) draClient(contentType string) kubernetes.Interface {
	g.t.Helper()
	transport := &http.Transport{}
	g.t.Cleanup(transport.CloseIdleConnections)
	c, err := kubernetes.NewForConfig(&rest.Config{
		Host: g.http.URL, QPS: -1, BearerToken: g.token(g.t, nil), Transport: transport,
		ContentConfig: rest.ContentConfig{ContentType: contentType, AcceptContentTypes: contentType + ",application/json"},
	})
	must(g.t, err)
	return c
}

// TestClaimsOffline reads a ResourceClaim as a DRA driver does in NodePrepareResources, in a pod on
// a node without a link: the claim that the node holds is answered in the driver's own rights.
func TestClaimsOffline(t *testing.T) {
	g := newGuarded(t)
	claim := &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "camera", UID: "uid-camera"},
		Status: resourcev1.ResourceClaimStatus{
			Allocation: &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
				Results: []resourcev1.DeviceRequestAllocationResult{{Request: "one", Driver: "dra.example.com", Pool: "gate-7", Device: "d0"}},
			}},
			ReservedFor: []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "a", UID: "uid-a"}},
		},
	}
	g.put("resourceclaims", "7", claim)
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		if _, err := g.draClient(contentType).ResourceV1().ResourceClaims("shop").Get(t.Context(), "camera", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s, without a role: %v", contentType, err)
		}
	}
	g.put("clusterroles", "1", &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "dra"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get"}, APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims"}},
		{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceslices"}},
	}})
	g.put("clusterrolebindings", "1", &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "dra"},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "dra"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "clerk", Namespace: "shop"}}})
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		claims := g.draClient(contentType).ResourceV1().ResourceClaims("shop")
		got, err := claims.Get(t.Context(), "camera", metav1.GetOptions{})
		must(t, err)
		if got.UID != claim.UID || len(got.Status.ReservedFor) != 1 || got.Status.Allocation == nil || got.Status.Allocation.Devices.Results[0].Device != "d0" {
			t.Errorf("%s: %+v", contentType, got)
		}
		if _, err := claims.Get(t.Context(), "other", metav1.GetOptions{}); !apierrors.IsServiceUnavailable(err) {
			t.Errorf("%s: a claim that the node does not hold: %v", contentType, err)
		}
		if _, err := claims.List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s: a list without the right: %v", contentType, err)
		}
	}
	// What a driver publishes waits for the link.
	_, err := g.draClient("application/json").ResourceV1().ResourceSlices().List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), "resourceslices") {
		t.Errorf("the driver's ResourceSlices: %v", err)
	}
}
