package rules

import (
	"context"
	"errors"
	"net/http"
	"testing"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
)

// TestMessageRequest: a node decides neither the method nor the path of a message of MQTT, and
// no path of a request leads out of the rule's URL.
func TestMessageRequest(t *testing.T) {
	for _, tc := range []struct {
		name, key, path, want string
	}{
		{"MQTT", v1.KeyTopic, "/../admin", "POST http://erp/orders"},
		{"HTTP", v1.KeyTargetURL, "/7?x=1", "DELETE http://erp/orders/7?x=1"},
		{"dots", v1.KeyTargetURL, "/../admin", ""},
		{"escaped dots", v1.KeyTargetURL, "/..%2fadmin", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &resolved{name: cache.Name{Namespace: "plant", Name: "r"}, rule: &v1.Rule{Spec: v1.RuleSpec{
				SourceResource: map[string]v1.Setting{tc.key: "x"}, TargetResource: map[string]v1.Setting{v1.KeyResource: "http://erp/orders"},
			}}}
			m := &message{Message: wire.Message{Method: http.MethodDelete, Path: tc.path}, node: "n", id: "1"}
			req, err := m.request(t.Context(), r)
			if (err != nil) != (tc.want == "") {
				t.Fatalf("error %v", err)
			}
			if err != nil {
				failed, ok := errors.AsType[*delivery.SendError](newTargets(Config{}).Send(t.Context(), func(ctx context.Context) (*http.Request, error) { return m.request(ctx, r) }))
				if !ok || !failed.Final {
					t.Errorf("send returns %v, which is tried again", failed)
				}
				return
			}
			if got := req.Method + " " + req.URL.String(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
