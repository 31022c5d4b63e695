package jobs

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// TestCron: what the pattern of the schema lets through is read or refused, and never ends the
// program: whoever may create a job would end every cloudcore.
func TestCron(t *testing.T) {
	for text, good := range map[string]bool{
		"0 2 * * 6":                true,
		"\t0\t2 *  * 6 ":           true,
		"@daily":                   true,
		" @daily ":                 true,
		"TZ=Mars\t1\t2\t3\t4":      false,
		"CRON_TZ=x\t1\t2\t3\t4":    false,
		"TZ=Europe/Berlin 1 2 3 4": false,
		"@every 5m":                false,
		"0 2 * *":                  false,
		"":                         false,
	} {
		_, err := newSchedule(&v1alpha2.Schedule{Cron: text, Duration: metav1.Duration{Duration: time.Hour}})
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
