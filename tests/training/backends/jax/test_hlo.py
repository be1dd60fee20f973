"""What is read from the text of an optimized program, on one in the style of XLA's for TPUs."""

from __future__ import annotations

import pytest

from effv2_tune.training.backends.jax.hlo import Program

TEXT = """\
HloModule jit_step, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias), \
{1}: (1, {}, may-alias) }, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%fused_computation.1 (param_0: f32[8]) -> f32[8] {
  %param_0 = f32[8]{0:T(128)} parameter(0)
  ROOT %copy.9 = u8[20000,32,32,3]{2,1,3,0:T(8,128)} copy(%param_0)
}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%body (state: (s32[], f32[8], u8[20000,32,32,3])) -> (s32[], f32[8], u8[20000,32,32,3]) {
  %state = (s32[], f32[8]{0}, /*index=2*/u8[20000,32,32,3]{2,1,3,0:T(8,128)(4,1)}) parameter(0)
  %gte = f32[8]{0:T(128)} get-tuple-element(%state), index=1
  %fusion.1 = f32[8]{0:T(128)} fusion(%gte), kind=kLoop, calls=%fused_computation.1, \
backend_config={"window_config":{"estimated_cycles":"1500","iteration_bounds":["1"]}}
  %all-reduce.1 = (bf16[64,2]{1,0}, f32[16]{0}) all-reduce(%a, %b), to_apply=%add
  %all-reduce-start.2 = f32[4]{0} all-reduce-start(%c), to_apply=%add
  %all-reduce-done.2 = f32[4]{0} all-reduce-done(%all-reduce-start.2)
  ROOT %tuple = (s32[], f32[8]{0}, u8[20000,32,32,3]{2,1,3,0}) tuple(%i, %fusion.1, %images)
}

%condition (state: (s32[], f32[8], u8[20000,32,32,3])) -> pred[] {
  %state.1 = (s32[], f32[8]{0}, u8[20000,32,32,3]{2,1,3,0}) parameter(0)
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%inner (n: s32[]) -> s32[] {
  ROOT %one = s32[] add(%n, %n), backend_config={"window_config":{"estimated_cycles":"10"}}
}

%never (n: s32[]) -> pred[] {
  ROOT %no = pred[] constant(false)
}

ENTRY %main (images: u8[20000,32,32,3], state: f32[8]) -> (f32[8], f32[8], f32[]) {
  %images = u8[20000,32,32,3]{0,3,2,1:T(8,128)(4,1)} parameter(0)
  %copy.1 = u8[20000,32,32,3]{2,1,3,0:T(8,128)(4,1)} copy(%images), \
backend_config={"window_config":{"estimated_cycles":"600"}}
  %loop = (s32[], f32[8]{0}, u8[20000,32,32,3]{2,1,3,0}) while(%t), condition=%condition, body=%body
  %small = s32[] while(%n), condition=%never, body=%inner, \
backend_config={"known_trip_count":{"n":"7"}}
  ROOT %out = (f32[8]{0}, f32[8]{0}, f32[]) tuple(%a, %b, %c)
}
"""


@pytest.fixture(scope="module")
def program() -> Program:
    return Program.read(TEXT)


def test_a_step_is_the_body_of_the_costliest_loop(program: Program) -> None:
    assert program.step == "body"
    assert program.cycles("body") == 1500


def test_a_loop_of_known_length_counts_as_often_as_it_runs(program: Program) -> None:
    assert program.cycles_beside_the_step == 600 + 7 * 10


def test_each_reduction_over_devices_counts_once_with_its_bytes(program: Program) -> None:
    assert program.all_reduces() == [64 * 2 * 2 + 16 * 4, 4 * 4]


def test_an_array_inside_a_fusion_is_not_written_to_memory(program: Program) -> None:
    assert program.arrays_of(20000 * 32 * 32 * 3) == 1


def test_outputs_in_the_memory_of_inputs_are_counted(program: Program) -> None:
    assert program.aliased == 2


def test_nothing_else_is_exchanged(program: Program) -> None:
    assert (program.all_gathers(), program.host_transfers()) == (0, 0)


@pytest.mark.parametrize(
    ("line", "gathers", "transfers"),
    [
        ("  %g = f32[8]{0} all-gather(%a), dimensions={0}\n", 1, 0),
        ("  %s = (f32[8]{0}, u32[], token[]) send(%a, %t), is_host_transfer=true\n", 0, 1),
        ('  %c = f32[8]{0} custom-call(%a), custom_call_target="xla_python_callback"\n', 0, 1),
    ],
)
def test_exchanges_with_other_devices_and_the_host_are_found(
    line: str, gathers: int, transfers: int
) -> None:
    program = Program.read(TEXT.replace("  %gte = ", f"{line}  %gte = "))

    assert (program.all_gathers(), program.host_transfers()) == (gathers, transfers)


def test_without_a_loop_the_whole_program_is_the_step() -> None:
    text = "\n".join(line for line in TEXT.splitlines() if " while(" not in line)
    program = Program.read(text)

    assert (program.step, program.cycles(program.step)) == ("main", 600)
    assert program.cycles_beside_the_step == 0
