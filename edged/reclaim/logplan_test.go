package reclaim

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestPlanLog(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	at := func(second int, end string) string {
		return "0.log." + now.Add(time.Duration(second)*time.Second).Format("20060102-150405") + end
	}
	policy := logPolicy{maxSize: 100, maxFiles: 4}
	for name, tt := range map[string]struct {
		size   int64
		beside []string
		policy logPolicy
		want   logPlan
	}{
		"small":               {size: 99, beside: []string{"0.log", at(-9, "")}},
		"first rotation":      {size: 100, beside: []string{"0.log"}, want: logPlan{rotateTo: at(0, "")}},
		"the newest stays":    {size: 100, beside: []string{"0.log", at(-10, "")}, want: logPlan{rotateTo: at(0, ""), compress: []string{at(-10, "")}}},
		"compressed stays so": {size: 100, beside: []string{at(-20, ".gz"), at(-10, "")}, want: logPlan{rotateTo: at(0, ""), compress: []string{at(-10, "")}}},
		"too many": {size: 100, beside: []string{at(-10, ""), at(-40, ".gz"), at(-20, ".gz"), at(-30, ".gz")},
			want: logPlan{rotateTo: at(0, ""), remove: []string{at(-40, ".gz"), at(-30, ".gz")}, compress: []string{at(-10, "")}}},
		"two files only": {size: 100, beside: []string{at(-10, "")}, policy: logPolicy{maxSize: 100, maxFiles: 2},
			want: logPlan{rotateTo: at(0, ""), remove: []string{at(-10, "")}}},
		"half a compression": {size: 5, beside: []string{at(-10, ""), at(-10, ".tmp")}, want: logPlan{remove: []string{at(-10, ".tmp")}}},
		"a whole one":        {size: 5, beside: []string{at(-10, ""), at(-10, ".gz")}, want: logPlan{remove: []string{at(-10, "")}}},
		"renamed, not opened again": {size: -1, beside: []string{at(-10, ".gz"), at(-5, "")},
			want: logPlan{reopen: true}},
		"renamed, with rubbish":  {size: -1, beside: []string{at(-5, ""), at(-9, ".tmp")}, want: logPlan{reopen: true, remove: []string{at(-9, ".tmp")}}},
		"never had a log":        {size: -1, beside: []string{"1.log"}},
		"twice in a second":      {size: 100, beside: []string{at(0, "")}, want: logPlan{rotateTo: at(1, ""), compress: []string{at(0, "")}}},
		"the clock was set back": {size: 100, beside: []string{at(3600, "")}, want: logPlan{rotateTo: at(3601, ""), compress: []string{at(3600, "")}}},
		"files of somebody else": {size: 100, beside: []string{"0.log.old", "0.log." + "x", at(-1, ".zst"), "10.log.20260101-000000"}, want: logPlan{rotateTo: at(0, "")}},
		"of another start":       {size: 100, beside: []string{"1.log", "1.log.20260101-000000", "10.log"}, want: logPlan{rotateTo: at(0, "")}},
		"a compressed twin of .tmp": {size: 5, beside: []string{at(-10, ""), at(-10, ".tmp"), at(-10, ".gz")},
			want: logPlan{remove: []string{at(-10, ""), at(-10, ".tmp")}}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.policy == (logPolicy{}) {
				tt.policy = policy
			}
			got := planLog(logFiles{file: "0.log", size: tt.size, beside: tt.beside}, tt.policy, now)
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestPlanLogConverges rotates many times: the newest files are kept, as many as the
// policy says, and nothing is left to do when the log is small again.
func TestPlanLogConverges(t *testing.T) {
	policy := logPolicy{maxSize: 100, maxFiles: 5}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := logFiles{file: "0.log", size: 100}
	for i := range 20 {
		p := planLog(f, policy, now.Add(-time.Duration(i)*time.Hour)) // on a clock that runs backwards
		var left []string
		for _, name := range f.beside {
			switch {
			case contains(p.remove, name):
			case contains(p.compress, name):
				left = append(left, name+".gz")
			default:
				left = append(left, name)
			}
		}
		f.beside = append(left, p.rotateTo)
		if len(f.beside) != min(i+1, 4) {
			t.Fatalf("%d: %q", i, f.beside)
		}
	}
	want := []string{"0.log.20260101-000016.gz", "0.log.20260101-000017.gz", "0.log.20260101-000018.gz", "0.log.20260101-000019"}
	if !reflect.DeepEqual(f.beside, want) {
		t.Errorf("%q, want %q", f.beside, want)
	}
	if f.size = 99; !planLog(f, policy, now).isEmpty() {
		t.Errorf("%+v", planLog(f, policy, now))
	}
}

func contains(list []string, name string) bool {
	for _, n := range list {
		if n == name {
			return true
		}
	}
	return false
}
