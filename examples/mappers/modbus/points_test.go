package main

import (
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

func TestCoalesce(t *testing.T) {
	holding := func(address, count int) point { return point{table: holdingRegisters, address: address, count: count} }
	many := make(map[string]point)
	for n := range 250 {
		many["p"+strconv.Itoa(n)] = holding(n, 1)
	}
	for name, test := range map[string]struct {
		points map[string]point
		gap    int
		want   []block // points are not compared when nil
	}{
		"none": {nil, 0, nil},
		"adjacent": {
			map[string]point{"a": holding(0, 1), "b": holding(1, 2), "c": holding(3, 1)}, 0,
			[]block{{holdingRegisters, 0, 4, []string{"a", "b", "c"}}},
		},
		"same register twice": {
			map[string]point{"a": holding(7, 1), "b": holding(7, 1)}, 0,
			[]block{{holdingRegisters, 7, 1, []string{"a", "b"}}},
		},
		"overlapping": {
			map[string]point{"a": holding(0, 4), "b": holding(1, 1)}, 0,
			[]block{{holdingRegisters, 0, 4, []string{"a", "b"}}},
		},
		"hole without gap": {
			map[string]point{"a": holding(0, 1), "b": holding(2, 1)}, 0,
			[]block{{holdingRegisters, 0, 1, []string{"a"}}, {holdingRegisters, 2, 1, []string{"b"}}},
		},
		"hole with gap": {
			map[string]point{"a": holding(0, 1), "b": holding(2, 1)}, 1,
			[]block{{holdingRegisters, 0, 3, []string{"a", "b"}}},
		},
		"tables are apart": {
			map[string]point{"a": holding(0, 1), "b": {table: inputRegisters, address: 1, count: 1}, "c": {table: coils, address: 2, count: 1}, "d": {table: discreteInputs, address: 3, count: 1}}, 124,
			[]block{{coils, 2, 1, []string{"c"}}, {discreteInputs, 3, 1, []string{"d"}}, {inputRegisters, 1, 1, []string{"b"}}, {holdingRegisters, 0, 1, []string{"a"}}},
		},
		"no more than 125 registers": {
			many, 0, []block{{holdingRegisters, 0, 125, nil}, {holdingRegisters, 125, 125, nil}},
		},
		"a value is never cut": {
			map[string]point{"a": holding(0, 124), "b": holding(124, 2)}, 0,
			[]block{{holdingRegisters, 0, 124, []string{"a"}}, {holdingRegisters, 124, 2, []string{"b"}}},
		},
		"no more than 2000 bits": {
			map[string]point{"a": {table: coils, address: 0, count: 1}, "b": {table: coils, address: 1999, count: 1}, "c": {table: coils, address: 2000, count: 1}}, 2000,
			[]block{{coils, 0, 2000, []string{"a", "b"}}, {coils, 2000, 1, []string{"c"}}},
		},
		"the last register": {
			map[string]point{"a": holding(65535, 1)}, 0,
			[]block{{holdingRegisters, 65535, 1, []string{"a"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := coalesce(test.points, test.gap)
			for n := range got {
				if n < len(test.want) && test.want[n].points == nil {
					got[n].points = nil
				}
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestPointErrors(t *testing.T) {
	for config, says := range map[string]string{
		`{"offset":1}`:                                            "set CoilRegister",
		`{"register":"Holding","offset":1}`:                       "set CoilRegister",
		`{"register":"HoldingRegister","offset":1}`:               "limit is 0",
		`{"register":"HoldingRegister","offset":-1,"limit":1}`:    "offset is -1",
		`{"register":"HoldingRegister","offset":65536,"limit":1}`: "offset is 65536",
		`{"register":"HoldingRegister","offset":65535,"limit":2}`: "set 0 to 65534",
		`{"register":"HoldingRegister","offset":1,"limit":126}`:   "limit is 126",
		`{"register":"CoilRegister","offset":1,"limit":2}`:        "limit is 2",
		`{"register":"HoldingRegister","offset":"one"}`:           ".Offset",
	} {
		p := schema.Property{Name: "p", Visitors: &schema.Visitor{Config: schema.Options(config)}}
		_, err := newPoint(&device.Instance{}, p)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "property p") {
			t.Errorf("%s: got %v, want %q", config, err, says)
		}
	}
}

func TestSettingsErrors(t *testing.T) {
	for says, c := range map[string]connection{
		"ip is missing":         {},
		"serialPort is missing": {CommunicateMode: "RTU"},
		"communicateMode":       {CommunicateMode: "carrier pigeon"},
		"slaveID is 300":        {IP: "a", SlaveID: 300},
		"port is 70000":         {IP: "a", Port: 70000},
		"timeout is -1":         {IP: "a", Timeout: -1},
		"gap is 125":            {IP: "a", Gap: 125},
		"parity":                {IP: "a", Parity: "maybe"},
	} {
		if _, err := c.settings(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", c, err, says)
		}
	}
}
