package edge_test

import (
	"slices"
	"testing"
	"testing/synctest"

	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
)

// TestResourceSlicesOfDriversThatWent deletes what the node has of other drivers than those
// that it reports, and nothing for a report that is not its own.
func TestResourceSlicesOfDriversThatWent(t *testing.T) {
	key := hub.Key{Resource: "resourceslices", Name: "n"}
	for _, tt := range []struct {
		name, body, want string
		key              hub.Key
		deleted          bool
	}{
		{name: "none left", key: key, body: `{"drivers":[]}`, want: "spec.nodeName=n"},
		{name: "others stay", key: key, body: `{"drivers":["a.example.com","b.example.com"]}`, want: "spec.driver!=a.example.com,spec.driver!=b.example.com,spec.nodeName=n"},
		{name: "of another node", key: hub.Key{Resource: "resourceslices", Name: "m"}, body: `{}`},
		{name: "a deletion", key: key, deleted: true},
		{name: "no JSON", key: key, body: `x`},
		{name: "a selector as a name", key: key, body: `{"drivers":["a,spec.nodeName=m"]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := controllertest.NewClientset()
				c := start(t, client)
				err := c.Writers()["resourceslices"](t.Context(), "n", hub.Object{Key: tt.key, Body: []byte(tt.body), Deleted: tt.deleted})
				if (err == nil) != (tt.want != "") {
					t.Errorf("%v", err)
				}
				var got []string
				for _, a := range client.Actions() {
					if d, ok := a.(clienttesting.DeleteCollectionAction); ok && d.GetResource().Resource == "resourceslices" {
						got = append(got, d.GetListRestrictions().Fields.String())
					}
				}
				if tt.want == "" && len(got) > 0 || tt.want != "" && !slices.Equal(got, []string{tt.want}) {
					t.Errorf("deleted %q, want %q", got, tt.want)
				}
			})
		})
	}
}
