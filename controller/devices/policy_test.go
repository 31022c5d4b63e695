package devices_test

import (
	"bytes"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// TestPolicy reads the example policy for Devices as the API server would: it has no
// unknown field, and it is about Devices.
func TestPolicy(t *testing.T) {
	parts := bytes.Split([]byte(devices.Policy()), []byte("\n---\n"))
	if len(parts) != 2 {
		t.Fatalf("%d objects", len(parts))
	}
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	for i, into := range []any{&policy, &binding} {
		if err := yaml.UnmarshalStrict(parts[i], into); err != nil {
			t.Fatal(err)
		}
	}
	gvk := admissionv1.SchemeGroupVersion
	if policy.APIVersion != gvk.String() || policy.Kind != "ValidatingAdmissionPolicy" || binding.APIVersion != gvk.String() || binding.Kind != "ValidatingAdmissionPolicyBinding" {
		t.Error("of another kind")
	}
	rules := policy.Spec.MatchConstraints.ResourceRules
	if len(rules) != 1 || rules[0].APIGroups[0] != v1beta1.GroupVersion().Group || rules[0].Resources[0] != "devices" || len(rules[0].Operations) != 2 {
		t.Errorf("it is about %+v", rules)
	}
	if *policy.Spec.FailurePolicy != admissionv1.Fail || binding.Spec.PolicyName != policy.Name || binding.Spec.ValidationActions[0] != admissionv1.Deny {
		t.Error("it forbids nothing")
	}
	for _, v := range policy.Spec.Validations {
		for _, expression := range []string{v.Expression, v.MessageExpression} {
			if expression == "" || strings.Count(expression, "(") != strings.Count(expression, ")") {
				t.Errorf("expression %q", expression)
			}
		}
	}
}
