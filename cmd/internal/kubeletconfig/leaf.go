package kubeletconfig

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
)

// leaf reads the value of a field, which must have the form of its kind.
func (r *reader) leaf(n *yaml.Node, f *Field, path string) (value, bool) {
	v := value{file: r.file, line: n.Line}
	var err error
	switch f.Kind {
	case Any:
		v.text, v.zero = n.Value, n.Value == ""
	case Strings, Ints:
		v.list, err = sequence(n, f.Kind)
		v.zero = len(v.list) == 0 && path != "enforceNodeAllocatable" // nothing is enforced
	case StringMap, BoolMap, Quantities:
		v.pairs, err = mapping(n, f.Kind)
		v.zero = len(v.pairs) == 0 && path != "evictionHard" // no signal has a threshold
	case ListMap:
		v.multi, err = lists(n)
		v.zero = len(v.multi) == 0
	default:
		v.text, v.zero, err = scalar(n, f.Kind)
	}
	if err != nil {
		r.refuse(n, "%s: %w", path, err)
		return v, false
	}
	v.zero = v.zero && !f.Pointer
	return v, true
}

// scalar reads a plain value, and whether it is its type's zero value.
func scalar(n *yaml.Node, kind Kind) (text string, zero bool, err error) {
	if n.Kind != yaml.ScalarNode {
		return "", false, fmt.Errorf("want a plain value")
	}
	quoted := n.Tag == "!!str"
	switch kind {
	case Bool:
		var b bool
		// YAML 1.1, which the kubelet reads, has yes and no.
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 || n.Decode(&b) != nil {
			return "", false, fmt.Errorf("%q: want true or false, without quotes", n.Value)
		}
		return strconv.FormatBool(b), !b, nil
	case Int:
		i, err := strconv.ParseInt(n.Value, 0, 64)
		if err != nil || quoted {
			return "", false, fmt.Errorf("%q: want a whole number, without quotes", n.Value)
		}
		return strconv.FormatInt(i, 10), i == 0, nil
	case Float:
		x, err := strconv.ParseFloat(n.Value, 64)
		if err != nil || quoted {
			return "", false, fmt.Errorf("%q: want a number, without quotes", n.Value)
		}
		return strconv.FormatFloat(x, 'g', -1, 64), x == 0, nil
	case Duration:
		d, err := time.ParseDuration(n.Value)
		if err != nil || !quoted && n.Value != "0" {
			return "", false, fmt.Errorf("%q: want a time with its unit, such as 10s or 5m", n.Value)
		}
		return d.String(), d == 0, nil
	}
	if !quoted {
		return "", false, fmt.Errorf("%s: want a text: put it in quotes", n.Value)
	}
	return n.Value, n.Value == "", nil
}

func sequence(n *yaml.Node, kind Kind) ([]string, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("want a list")
	}
	out := []string{}
	of := String
	if kind == Ints {
		of = Int
	}
	for _, item := range n.Content {
		text, _, err := scalar(item, of)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

func mapping(n *yaml.Node, kind Kind) (map[string]string, error) {
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("want names with their values")
	}
	out := make(map[string]string)
	of := String
	if kind == BoolMap {
		of = Bool
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i].Value, n.Content[i+1]
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%s is given twice: leave one out", key)
		}
		if kind == Quantities {
			if _, err := resource.ParseQuantity(val.Value); err != nil || val.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("%s: %q: want a quantity, such as 500Mi", key, val.Value)
			}
			out[key] = val.Value
			continue
		}
		text, _, err := scalar(val, of)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		out[key] = text
	}
	return out, nil
}

func lists(n *yaml.Node) (map[string][]string, error) {
	if n.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("want names with lists of texts")
	}
	out := make(map[string][]string)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%s is given twice: leave one out", key)
		}
		list, err := sequence(n.Content[i+1], Strings)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		out[key] = list
	}
	return out, nil
}

// merge puts the values of a later file over those of earlier ones, as a JSON merge
// patch does: a null removes a value.
func merge(into, later map[string]value) {
	for path, v := range later {
		if v.file == "" { // null
			for have := range into {
				if have == path || strings.HasPrefix(have, path+".") {
					delete(into, have)
				}
			}
			continue
		}
		if old, ok := into[path]; ok && v.pairs != nil && old.pairs != nil {
			all := maps.Clone(old.pairs)
			maps.Copy(all, v.pairs)
			v.pairs = all
		}
		if old, ok := into[path]; ok && v.multi != nil && old.multi != nil {
			all := maps.Clone(old.multi)
			maps.Copy(all, v.multi)
			v.multi = all
		}
		into[path] = v
	}
}
