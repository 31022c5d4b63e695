package summary_test

import (
	"strings"
	"testing"

	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

func TestValues(t *testing.T) {
	twins := []schema.Twin{{PropertyName: "none"}, {PropertyName: "a", Reported: &schema.Value{Value: "x\ny"}}, {PropertyName: "b", Reported: &schema.Value{Value: strings.Repeat("ä", 40)}}}
	if got := summary.Values(twins); got != "a=x?y b="+strings.Repeat("ä", 14)+"..." {
		t.Errorf("%q", got)
	}
	for range 50 {
		twins = append(twins, twins[1])
	}
	if got := summary.Values(twins); len(got) > 120 || !strings.HasSuffix(got, " ...") {
		t.Errorf("%d: %q", len(got), got)
	}
}
