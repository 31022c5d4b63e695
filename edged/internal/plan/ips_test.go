package plan

import (
	"slices"
	"testing"
)

func TestFamilyFirst(t *testing.T) {
	for name, tt := range map[string]struct{ ips, hosts, want []string }{
		"IPv4 node":      {[]string{"2001:db8::5", "10.0.0.5"}, []string{"192.0.2.1"}, []string{"10.0.0.5", "2001:db8::5"}},
		"IPv6 node":      {[]string{"10.0.0.5", "2001:db8::5"}, []string{"2001:db8::1", "192.0.2.1"}, []string{"2001:db8::5", "10.0.0.5"}},
		"in order":       {[]string{"10.0.0.5", "2001:db8::5"}, []string{"192.0.2.1"}, []string{"10.0.0.5", "2001:db8::5"}},
		"one address":    {[]string{"2001:db8::5"}, []string{"192.0.2.1"}, []string{"2001:db8::5"}},
		"no host":        {[]string{"2001:db8::5", "10.0.0.5"}, nil, []string{"2001:db8::5", "10.0.0.5"}},
		"no addresses":   {nil, []string{"192.0.2.1"}, nil},
		"not an address": {[]string{"x", "10.0.0.5"}, []string{"192.0.2.1"}, []string{"10.0.0.5", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := SortIPs(tt.ips, tt.hosts); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
