"""The bus against the emulated one: what it reads and writes, and what it does about faults."""

import time

import pytest

pytest.importorskip("dynamixel_sdk", reason="arms need the SDK of their motors: pip install -e '.[hardware]'")

import numpy as np
from dynamixel_sdk import Protocol2PacketHandler

from real_envs.bus import Bus, HardwareError, Losses, check_latency, to_bytes
from real_envs.motors import (
    DRIVE_MODE,
    GOAL_POSITION,
    PRESENT_POSITION,
    TORQUE,
    VELOCITY_AND_POSITION,
    reported,
)
from tests.fakes.dynamixel_bus import EmulatedBus, crc16, packet
from tests.fakes.dynamixel_motor import Motor, arm

IDS = range(1, 10)


@pytest.fixture
def emulated():
    with EmulatedBus(arm()) as emulated:
        yield emulated


@pytest.fixture
def bus(emulated: EmulatedBus):
    bus = Bus(emulated.port, answer_time=0.03)  # a busy machine may be slow
    yield bus
    bus.close()


def read_all(bus: Bus) -> dict[int, int]:
    bus.ask(IDS, PRESENT_POSITION)
    return {motor: int.from_bytes(data, "little", signed=True) for motor, data in bus.answers().items()}


def test_the_emulated_bus_and_the_sdk_compute_the_same_crc():
    rng = np.random.default_rng(0)
    for length in range(1, 200):
        data = rng.bytes(length)
        assert crc16(data) == Protocol2PacketHandler().updateCRC(0, data, length)


def test_the_example_packet_of_the_manual_has_the_crc_of_the_manual():
    assert packet(1, bytes([2, 0x84, 0, 4, 0])) == bytes.fromhex("FFFFFD000107000284000400 1D15".replace(" ", ""))


def test_a_ping_answers_the_model(bus: Bus):
    assert bus.ping(3) == 1120


def test_a_motor_that_is_not_there_is_named(bus: Bus):
    with pytest.raises(HardwareError, match=r"motor 42 on .* does not answer; check the power supply"):
        bus.ping(42)


def test_what_is_written_can_be_read(bus: Bus):
    bus.write(4, GOAL_POSITION, -7)
    assert bus.read(4, GOAL_POSITION) == 2**32 - 7


def test_a_motor_refuses_to_change_its_settings_while_torque_is_on(bus: Bus):
    bus.write(4, TORQUE, 1)
    with pytest.raises(HardwareError, match=r"motor 4 .* refused: access error"):
        bus.write(4, DRIVE_MODE, 1)


def test_one_question_reads_all_motors(bus: Bus, emulated: EmulatedBus):
    emulated.place({motor: 1000 + 100 * motor for motor in IDS})
    assert read_all(bus) == {motor: 1000 + 100 * motor for motor in IDS}


@pytest.mark.parametrize("velocity", [-1, -3, 0x00FDFFFF, -0x20001])
@pytest.mark.parametrize("position", [-3, -2, -1, -0x20001, 0x7DFFFFFD, 253])
def test_bytes_that_look_like_a_header_arrive_as_they_are(position: int, velocity: int):
    motor = Motor(1, position=position)
    motor.update = lambda now: (motor.set("present", position), motor.set("present_velocity", velocity))  # type: ignore
    with EmulatedBus([motor]) as emulated:
        bus = Bus(emulated.port, answer_time=0.03)
        bus.ask([1], VELOCITY_AND_POSITION)
        data = bus.answers()[1]
        bus.close()
    assert data == to_bytes(velocity, 4) + to_bytes(position, 4)


def test_one_packet_moves_all_motors_with_the_velocity_of_their_limit(bus: Bus, emulated: EmulatedBus):
    for motor in IDS:
        bus.write(motor, TORQUE, 1)
    start = time.monotonic()
    bus.sync_write(GOAL_POSITION, dict.fromkeys(IDS, 4000))
    time.sleep(0.1)
    moved = emulated.positions()[1] - 2048
    assert moved == pytest.approx(2048 * (time.monotonic() - start), rel=0.15)  # 131 units are 30 rev/min


@pytest.mark.parametrize("fault", ["drop", "corrupt"])
def test_lost_and_damaged_answers_are_asked_for_again(bus: Bus, emulated: EmulatedBus, fault: str):
    setattr(emulated, fault, 0.05)
    complete = sum(len(read_all(bus)) == 9 for _ in range(100))
    assert complete >= 95
    assert 15 < bus.losses.lost < 85
    assert bus.losses.asked == 100


def test_an_answer_that_stays_away_costs_less_than_a_control_step(emulated: EmulatedBus):
    emulated.silent = True
    bus, spent = Bus(emulated.port), []
    for _ in range(20):
        start = time.monotonic()
        assert read_all(bus) == {}
        spent.append(time.monotonic() - start)
    bus.close()
    assert np.median(spent) < 0.02


def test_a_plug_that_is_pulled_is_one_sentence(bus: Bus, emulated: EmulatedBus):
    emulated.unplug()
    with pytest.raises(HardwareError, match=r"is gone \(.*\); check the USB cable"):
        read_all(bus)


def test_an_answer_says_that_a_motor_overheats(bus: Bus, emulated: EmulatedBus):
    emulated.motors[5].heat()
    read_all(bus)
    assert bus.alerts == {5}


def test_errors_of_motors_are_words():
    assert reported(0b100100) == "overheating and an overload"
    assert reported(0b10) == "error 2"


def test_a_port_that_does_not_exist_is_one_sentence():
    with pytest.raises(HardwareError, match=r"/dev/nowhere cannot be opened .*; plug the arm in"):
        Bus("/dev/nowhere")


def test_an_unknown_baud_rate_is_wrong_input(emulated: EmulatedBus):
    with pytest.raises(ValueError, match=r"baudrate 12345 .* ALOHA's arms have 1000000"):
        Bus(emulated.port, 12345)


def test_losses_are_those_of_the_last_hundred_questions():
    losses = Losses()
    losses.add(True)
    for _ in range(99):
        losses.add(False)
    assert (losses.lost, losses.asked) == (1, 100)
    losses.add(False)
    assert (losses.lost, losses.asked) == (0, 100)


def test_an_adapter_that_keeps_answers_back_is_refused(tmp_path, monkeypatch: pytest.MonkeyPatch):
    timer = tmp_path / "latency_timer"
    timer.write_text("16\n")
    monkeypatch.setattr("real_envs.bus.Path", lambda path: timer if "latency" in path else tmp_path / "ttyUSB0")
    with pytest.raises(HardwareError, match=r"keeps answers back for 16 ms, .*: echo 1 \| sudo tee"):
        check_latency("/dev/ttyUSB0")
    timer.write_text("1\n")
    check_latency("/dev/ttyUSB0")
