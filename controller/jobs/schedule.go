package jobs

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// schedule is a v1alpha2.Schedule that was parsed.
type schedule struct {
	cron     cron.Schedule
	zone     *time.Location
	duration time.Duration
}

// newSchedule parses a Schedule; nil gives nil, which is always open.
func newSchedule(s *v1alpha2.Schedule) (*schedule, error) {
	if s == nil {
		return nil, nil
	}
	zone, err := time.LoadLocation(s.TimeZone)
	if err != nil {
		return nil, fmt.Errorf("timeZone %q is not known: use a name such as Europe/Berlin", s.TimeZone)
	}
	text := strings.Join(strings.Fields(s.Cron), " ")
	switch {
	case strings.Contains(text, "="): // the parser panics at TZ= without a space
		return nil, fmt.Errorf("cron %q has a time zone: use timeZone", s.Cron)
	case strings.HasPrefix(text, "@every"): // it begins at no time of the clock
		return nil, fmt.Errorf("cron %q says no time: use minute, hour, day of the month, month and day of the week", s.Cron)
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", s.Cron, err)
	}
	if s.Duration.Duration < time.Minute {
		return nil, fmt.Errorf("duration %s is shorter than a minute", s.Duration.Duration)
	}
	return &schedule{cron: parsed, zone: zone, duration: s.Duration.Duration}, nil
}

// open reports whether it is time at now, and when that changes next; zero means never.
// Where two times overlap, it closes with the later one.
func (s *schedule) open(now time.Time) (open bool, next time.Time) {
	if s == nil {
		return true, time.Time{}
	}
	now = now.In(s.zone)
	var until time.Time
	begin := s.cron.Next(now.Add(-s.duration))
	for range maxOverlap {
		if begin.IsZero() || begin.After(now) {
			break
		}
		until = begin.Add(s.duration)
		begin = s.cron.Next(begin)
	}
	if !until.IsZero() {
		return true, until
	}
	return false, begin
}

// maxOverlap bounds how many times that overlap are looked at. A schedule that begins each
// minute and lasts longer is always open: its next change may be said too early, when the
// question is asked again.
const maxOverlap = 64
