package install

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
)

// Oldest is the oldest minor version of Kubernetes 1 with all that the manifest uses: policies
// with port ranges and Services with TCP and UDP.
const Oldest = 26

// MissingRights asks the API server which rights the caller lacks to apply the objects. Each
// entry reads like "patch deployments.apps in edgekit-system".
func MissingRights(ctx context.Context, client kubernetes.Interface, objects []*unstructured.Unstructured) ([]string, error) {
	var missing []string
	asked := make(map[string]bool)
	for _, obj := range objects {
		gvr, _ := meta.UnsafeGuessKindToResource(obj.GroupVersionKind())
		for _, verb := range []string{"get", "create", "patch"} {
			right := verb + " " + gvr.GroupResource().String()
			if obj.GetNamespace() != "" {
				right += " in " + obj.GetNamespace()
			}
			if asked[right] {
				continue
			}
			asked[right] = true
			review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: verb, Group: gvr.Group, Resource: gvr.Resource, Namespace: obj.GetNamespace(),
				}},
			}, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("install: ask for the right to %s: %w", right, err)
			}
			if !review.Status.Allowed {
				missing = append(missing, right)
			}
		}
	}
	return missing, nil
}

// ClusterVersion returns the API server's version, and an error if it is older than Kubernetes
// 1.Oldest.
func ClusterVersion(client kubernetes.Interface) (string, error) {
	info, err := client.Discovery().ServerVersion()
	if err != nil {
		return "", fmt.Errorf("install: the API server's version: %w", err)
	}
	digits := strings.TrimRight(info.Minor, "+") // "30+" of some providers
	minor, err := strconv.Atoi(digits)
	if err != nil {
		return info.GitVersion, fmt.Errorf("install: the API server's version %s.%s cannot be read", info.Major, info.Minor)
	}
	if info.Major != "1" || minor < Oldest {
		return info.GitVersion, fmt.Errorf("install: the API server has Kubernetes %s: want 1.%d or later", info.GitVersion, Oldest)
	}
	return info.GitVersion, nil
}
