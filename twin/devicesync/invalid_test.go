package devicesync

import (
	"testing"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/twin"
)

// TestInvalidByRule has the twin's rule say that the model lacks a property: a status report
// decodes no model for that.
func TestInvalidByRule(t *testing.T) {
	spec := schema.DeviceSpec{Properties: []schema.Property{{Name: "a", Desired: &schema.Value{Value: "1"}}}}
	for _, tt := range []struct {
		rule   twin.Rule
		reason string
	}{{twin.Rule{NotInModel: true}, "NotInModel"}, {twin.Rule{}, ""}} {
		d := twin.Device{ID: "plant/d", Twins: map[string]twin.Twin{"a": {Type: "string", Declared: true, Rule: tt.rule}}}
		d.Member.Model = []byte("no JSON")
		if bad, reason := invalid(spec, d); reason != tt.reason || (len(bad) > 0) != (reason != "") {
			t.Errorf("%+v: %v, reason %q", tt.rule, bad, reason)
		}
	}
}
