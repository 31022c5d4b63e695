package bus

import "fmt"

// Mode says which brokers a Bus uses. Its numbers are those of the setting
// mqttMode that operators know; its zero value is Internal.
type Mode int

// The modes.
const (
	Internal Mode = 0 // the embedded broker
	Both     Mode = 1 // both at once
	External Mode = 2 // a broker outside of the program
)

// ParseMode reads "internal", "both" or "external", or the numbers 0, 1 and 2.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "internal", "0":
		return Internal, nil
	case "both", "1":
		return Both, nil
	case "external", "2":
		return External, nil
	}
	return 0, fmt.Errorf("bus: unknown MQTT mode %q: use internal (0), both (1) or external (2)", s)
}

// String returns the mode's name.
func (m Mode) String() string {
	switch m {
	case Internal:
		return "internal"
	case Both:
		return "both"
	case External:
		return "external"
	}
	return fmt.Sprintf("mode(%d)", int(m))
}

// MarshalText returns the mode's name.
func (m Mode) MarshalText() ([]byte, error) {
	if m < Internal || m > External {
		return nil, fmt.Errorf("bus: unknown MQTT mode %d: use internal (0), both (1) or external (2)", int(m))
	}
	return []byte(m.String()), nil
}

// UnmarshalText reads what ParseMode reads.
func (m *Mode) UnmarshalText(text []byte) error {
	mode, err := ParseMode(string(text))
	if err != nil {
		return err
	}
	*m = mode
	return nil
}
