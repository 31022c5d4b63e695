package simulator

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/simonvetter/modbus"
)

// ServeRTU serves the slaves whose numbers are given over a serial line, by the section
// "RTU transmission mode" of Modbus over serial line V1.02, until reading fails. It knows
// functions 1 to 6 and 16. It takes each read for a part of one frame and drops what is none.
func (s *Slaves) ServeRTU(line io.ReadWriter, numbers ...uint8) error {
	buf, have := make([]byte, 256), 0
	for {
		n, err := line.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		if have < 8 {
			continue
		}
		size := 8
		if buf[1] == 16 {
			size = 9 + int(buf[6])
		}
		if have < size && have < len(buf) {
			continue
		}
		frame := buf[:size]
		have = 0
		body := frame[:size-2]
		if binary.LittleEndian.Uint16(frame[size-2:]) != crc(body) || !contains(numbers, body[0]) {
			continue // a slave says nothing to a damaged frame, or to one for others
		}
		answer := s.answer(body)
		if _, err := line.Write(binary.LittleEndian.AppendUint16(answer, crc(answer))); err != nil {
			return err
		}
	}
}

func contains(numbers []uint8, n uint8) bool {
	for _, have := range numbers {
		if have == n {
			return true
		}
	}
	return false
}

// answer is the frame without checksum that answers one.
func (s *Slaves) answer(body []byte) []byte {
	unit, function := body[0], body[1]
	address, value := binary.BigEndian.Uint16(body[2:]), binary.BigEndian.Uint16(body[4:])
	out := []byte{unit, function}
	var bits []bool
	var registers []uint16
	var err error
	switch function {
	case 1:
		bits, err = s.HandleCoils(&modbus.CoilsRequest{UnitId: unit, Addr: address, Quantity: value})
	case 2:
		bits, err = s.HandleDiscreteInputs(&modbus.DiscreteInputsRequest{UnitId: unit, Addr: address, Quantity: value})
	case 3:
		registers, err = s.HandleHoldingRegisters(&modbus.HoldingRegistersRequest{UnitId: unit, Addr: address, Quantity: value})
	case 4:
		registers, err = s.HandleInputRegisters(&modbus.InputRegistersRequest{UnitId: unit, Addr: address, Quantity: value})
	case 5:
		_, err = s.HandleCoils(&modbus.CoilsRequest{UnitId: unit, Addr: address, Quantity: 1, IsWrite: true, Args: []bool{value == 0xff00}})
	case 6:
		_, err = s.HandleHoldingRegisters(&modbus.HoldingRegistersRequest{UnitId: unit, Addr: address, Quantity: 1, IsWrite: true, Args: []uint16{value}})
	case 16:
		args := make([]uint16, 0, value)
		for at := 7; at+1 < len(body); at += 2 {
			args = append(args, binary.BigEndian.Uint16(body[at:]))
		}
		_, err = s.HandleHoldingRegisters(&modbus.HoldingRegistersRequest{UnitId: unit, Addr: address, Quantity: value, IsWrite: true, Args: args})
	default:
		err = modbus.ErrIllegalFunction
	}
	switch {
	case errors.Is(err, modbus.ErrIllegalFunction):
		return []byte{unit, function | 0x80, 1}
	case err != nil:
		return []byte{unit, function | 0x80, 2}
	case function <= 2:
		packed := make([]byte, (len(bits)+7)/8)
		for n, on := range bits {
			if on {
				packed[n/8] |= 1 << (n % 8)
			}
		}
		return append(append(out, byte(len(packed))), packed...)
	case function <= 4:
		out = append(out, byte(2*len(registers)))
		for _, r := range registers {
			out = binary.BigEndian.AppendUint16(out, r)
		}
		return out
	}
	return append(out, body[2:6]...)
}

// crc is the checksum of the specification: polynomial 0xA001, start 0xFFFF.
func crc(b []byte) uint16 {
	sum := uint16(0xffff)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ 0xa001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}
