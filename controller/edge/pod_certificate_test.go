package edge_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

// TestPodCertificate makes a request for a pod of the node, waits for the signer, and reads
// it again; what a node may not ask for is refused.
func TestPodCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web := pod("web", "n")
		web.Spec.ServiceAccountName = "robot"
		client := controllertest.NewClientset(web, pod("else", "m"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "node-uid", Labels: map[string]string{nodelifecycle.RoleLabel: ""}}},
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "robot", UID: "account-uid"}})
		c := start(t, client)
		var mux hub.Mux
		c.Handle(&mux)
		requests := client.CertificatesV1().PodCertificateRequests("a")
		issue, refusals := true, 2
		client.PrependReactor("create", "podcertificaterequests", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if refusals--; refusals >= 0 { // the node authorizer does not know the pod yet
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "podcertificaterequests"}, "", errors.New("no such pod"))
			}
			made := a.(clienttesting.CreateAction).GetObject().(*certificatesv1.PodCertificateRequest)
			made.Name = "req-1" // the fake API makes no names
			return false, nil, nil
		})
		client.PrependReactor("get", "podcertificaterequests", func(clienttesting.Action) (bool, runtime.Object, error) {
			if !issue {
				return false, nil, nil
			}
			return true, &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "req-1"}, Status: certificatesv1.PodCertificateRequestStatus{
				Conditions: []metav1.Condition{{Type: "Issued"}}, CertificateChain: "chain",
			}}, nil
		})
		call := func(name, body string) (certificatesv1.PodCertificateRequest, error) {
			t.Helper()
			var got certificatesv1.PodCertificateRequest
			m, err := mux.ServeCall(t.Context(), hub.Request{Node: "n", Message: hub.Message{Operation: hub.Query, Key: hub.Key{Resource: "podcertificaterequests", Namespace: "a", Name: name}, Body: []byte(body)}})
			if err == nil {
				err = json.Unmarshal(m.Body, &got)
			}
			return got, err
		}
		const good = `{"metadata":{"labels":{"x":"y"}},"spec":{"signerName":"acme.io/pods","podUID":"uid-web","stubPKCS10Request":"cHJvb2Y=","nodeName":"other","serviceAccountName":"admin"}}`
		got, err := call("web", good)
		if err != nil || got.Name != "req-1" || got.Status.CertificateChain != "chain" {
			t.Errorf("%+v, %v", got, err)
		}
		issue = false
		made, err := requests.Get(t.Context(), "req-1", metav1.GetOptions{})
		if err != nil || made.Spec.NodeName != "n" || made.Spec.NodeUID != "node-uid" || made.Spec.ServiceAccountName != "robot" || made.Spec.ServiceAccountUID != "account-uid" ||
			made.Spec.PodName != "web" || string(made.Spec.StubPKCS10Request) != "proof" || len(made.Labels) > 0 || len(made.OwnerReferences) != 1 || made.OwnerReferences[0].UID != "uid-web" {
			t.Errorf("made %+v, %v", made, err)
		}
		if got, err := call("web", `{"metadata":{"name":"req-1"}}`); err != nil || got.Name != "req-1" || len(got.Status.Conditions) > 0 || len(got.Spec.StubPKCS10Request) > 0 {
			t.Errorf("pending: %+v, %v", got, err)
		}
		if _, err := call("web", `{"metadata":{"name":"req-9"}}`); !errors.Is(err, &hub.Error{Code: hub.CodeNotFound}) {
			t.Errorf("one that is gone: %v", err)
		}
		for name, body := range map[string]string{"else": strings.Replace(good, "uid-web", "uid-else", 1), "web": strings.Replace(good, "uid-web", "uid-old", 1), "none": good} {
			if _, err := call(name, body); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
				t.Errorf("for %s: %v", name, err)
			}
		}
		for _, body := range []string{"x", `{"spec":{"podUID":"uid-web"}}`, `{"spec":{"podUID":"uid-web","signerName":"` + strings.Repeat("a", 70<<10) + `"}}`} {
			if _, err := call("web", body); !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
				t.Errorf("%.60s: %v", body, err)
			}
		}
	})
}
