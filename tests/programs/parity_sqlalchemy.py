"""A lending library kept by SQLAlchemy in an SQLite database in memory, and a report of all of it.

A real program for the comparison with memray: it imports a large library, makes some hundred thousand allocations of
the interpreter, of the library and of SQLite's C code, and does the same in each run. Its heap is highest at one known
moment, while the report is put together and everything else is alive.
"""

import gc
import io
import random

from sqlalchemy import ForeignKey, String, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

BATCHES_COUNT = 40
# SQLAlchemy sorts a set of changed objects, whose order follows their addresses. Up to 256 objects `list.sort` needs no
# memory of its own, so that what is allocated does not depend on addresses.
BATCH_SIZE = 40


class Base(DeclarativeBase):
    pass


class Member(Base):
    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    loans: Mapped[list["Loan"]] = relationship(back_populates="member")


class Loan(Base):
    __tablename__ = "loan"
    id: Mapped[int] = mapped_column(primary_key=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    title: Mapped[str]
    note: Mapped[str]
    days: Mapped[int] = mapped_column(default=0)
    member: Mapped[Member] = relationship(back_populates="loans")


def fill(engine, numbers, batch):
    with Session(engine) as session:
        for index in range(BATCH_SIZE):
            loans = [
                Loan(title=f"Volume {numbers.randrange(900)}", note="." * numbers.randrange(40, 1500))
                for _ in range(numbers.randrange(1, 6))
            ]
            session.add(Member(name=f"member {batch}-{index}", loans=loans))
        session.commit()


def extend_loans(engine, numbers):
    with Session(engine) as session:
        newest_first = select(Member).order_by(Member.id.desc()).limit(BATCH_SIZE)
        for member in session.scalars(newest_first):
            for loan in member.loans:
                loan.days += numbers.randrange(7)
        session.commit()


def covers(engine):
    """Pictures of all loans, as large as real ones."""
    with Session(engine) as session:
        found = session.scalar(select(func.count(Loan.id)))
        return [bytearray(512 + index % 4096) for index in range(found)]  #: covers


def report(engine):
    with Session(engine) as session:
        members = session.scalars(select(Member).order_by(Member.id).options(selectinload(Member.loans))).all()
        pictures = covers(engine)
        text = io.StringIO()
        for member in members:
            text.write(f"{member.name}\n")
            for loan in member.loans:
                text.write(f"    {loan.title}: {loan.days} days {loan.note}\n")
        pages = text.getvalue().splitlines(keepends=True)
        bound = "".join(pages).encode("utf-16")  #: bound
        return len(members), len(pictures), len(bound)


def main():
    numbers = random.Random(20)
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    for batch in range(BATCHES_COUNT):
        fill(engine, numbers, batch)
        extend_loans(engine, numbers)
    print(*report(engine))


main()
gc.collect()
bytearray(1017)  #: end
